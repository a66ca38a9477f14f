# From an empty resource group to a shard that scales. Modules know nothing of each other; they meet here.

data "azapi_client_config" "here" {}

locals {
  subscription_id = data.azapi_client_config.here.subscription_id
  group_id        = "/subscriptions/${local.subscription_id}/resourceGroups/${var.resource_group_name}"
  name            = "${var.name}-${var.environment}"
  unique          = substr(sha256(local.group_id), 0, 6) # for names that are unique in the world

  tags = merge(
    { application = "jvb-autoscaler", environment = var.environment, managed-by = "terraform" },
    var.expires_on == "" ? {} : { expires-on = var.expires_on },
    var.tags,
  )

  policies = { for name in keys(var.shards) : name => merge(var.policy, try(var.shard_policies[name], {})) }

  # Names that are known before anything exists, so that the app can be told of scale sets that are made after it.
  scale_set_ids = {
    for shard in keys(var.shards) : shard => "${local.group_id}/providers/Microsoft.Compute/virtualMachineScaleSets/vmss-${local.name}-${shard}"
  }
}

resource "azapi_resource" "app_identity" {
  type      = "Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30"
  name      = "id-${local.name}-autoscaler"
  parent_id = local.group_id
  location  = var.location
  tags      = local.tags
  body      = {}

  response_export_values = ["properties.principalId", "properties.clientId"]
}

resource "azapi_resource" "bridge_identity" {
  for_each  = var.shards
  type      = "Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30"
  name      = "id-${local.name}-${each.key}"
  parent_id = local.group_id
  location  = var.location
  tags      = merge(local.tags, { shard = each.key })
  body      = {}

  response_export_values = ["properties.principalId", "properties.clientId"]
}

module "network" {
  source    = "./modules/network"
  name      = local.name
  location  = var.location
  parent_id = local.group_id
  tags      = local.tags
  network   = var.network
}

module "storage" {
  source              = "./modules/storage"
  name                = local.name
  account_name        = "${var.name}${var.environment}${local.unique}"
  location            = var.location
  parent_id           = local.group_id
  tags                = local.tags
  private             = var.private_storage
  operator_addresses  = var.operator_addresses
  network_id          = module.network.id
  endpoints_subnet_id = module.network.subnets["endpoints"]
  redundancy          = var.environment == "prod" ? "Standard_ZRS" : "Standard_LRS"
  subscription_id     = local.subscription_id
  principal_id        = azapi_resource.app_identity.output.properties.principalId
  identity_id         = azapi_resource.app_identity.id
}

module "vault" {
  source             = "./modules/vault"
  vault_name         = "kv-${local.name}-${local.unique}"
  location           = var.location
  parent_id          = local.group_id
  tags               = local.tags
  tenant_id          = data.azapi_client_config.here.tenant_id
  subscription_id    = local.subscription_id
  bridges_subnet_id  = module.network.subnets["bridges"]
  operator_addresses = var.operator_addresses
  values             = var.xmpp_passwords
  secrets = {
    for name, shard in var.shards : name => {
      name         = shard.signalling.secret_name
      identity_id  = azapi_resource.bridge_identity[name].id
      principal_id = azapi_resource.bridge_identity[name].output.properties.principalId
      ca_pem       = shard.signalling.ca_pem
    }
  }
}

module "image" {
  source       = "./modules/image"
  name         = local.name
  location     = var.location
  parent_id    = local.group_id
  tags         = local.tags
  source_image = var.image
  scripts      = local.image_scripts
  proofs       = local.image_proofs
}

module "shard" {
  source   = "./modules/shard"
  for_each = var.shards

  name                 = "${local.name}-${each.key}"
  location             = var.location
  parent_id            = local.group_id
  tags                 = merge(local.tags, { shard = each.key })
  owner                = var.owner
  zone                 = each.value.zone
  vm_size              = each.value.vm_size
  addresses            = each.value.max_bridges + each.value.surge
  spot                 = each.value.spot
  os_disk_gb           = each.value.os_disk_gb
  subnet_id            = module.network.subnets["bridges"]
  security_group_id    = module.network.bridges_security_group_id
  application_group_id = module.network.bridges_application_group_id
  image_id             = module.image.definition_id
  identity_id          = azapi_resource.bridge_identity[each.key].id
  custom_data          = local.custom_data[each.key]
  admin_ssh_public_key = var.admin_ssh_public_key
}

module "monitoring" {
  source             = "./modules/monitoring"
  name               = local.name
  unique             = local.unique
  location           = var.location
  parent_id          = local.group_id
  tags               = local.tags
  emails             = var.alert_emails
  connected          = var.alerts_connected
  function_app_id    = module.app.id
  function_app_url   = module.app.url
  scale_set_ids      = { for name, shard in module.shard : name => shard.scale_set_id }
  nic_alert_mbps     = { for name, policy in local.policies : name => try(policy.nic_mbps, 12500) * try(policy.nic_threshold, 0.7) }
  workspace_id       = azapi_resource.workspace.id
  insights_component = azapi_resource.insights.id
}

module "app" {
  source                     = "./modules/app"
  name                       = local.name
  app_name                   = "func-${local.name}-${local.unique}"
  location                   = var.location
  parent_id                  = local.group_id
  tags                       = local.tags
  subnet_id                  = module.network.subnets["function"]
  identity_id                = azapi_resource.app_identity.id
  client_id                  = azapi_resource.app_identity.output.properties.clientId
  storage_name               = module.storage.name
  package_url                = module.storage.package_url
  memory_mb                  = var.instance_memory_mb
  network_id                 = module.network.id
  endpoints_subnet_id        = module.network.subnets["endpoints"]
  application_group_id       = module.network.app_application_group_id
  reached_from_bridges       = var.boot_reports
  insights_connection_string = azapi_resource.insights.output.properties.ConnectionString
  settings = {
    SCALER_DRY_RUN          = tostring(var.dry_run)
    SCALER_OWNER            = var.owner
    SCALER_TABLES_ENDPOINT  = "https://${module.storage.name}.table.core.windows.net"
    SCALER_METRICS_ENDPOINT = "https://${var.location}.metrics.monitor.azure.com"
    SCALER_POLICY           = jsonencode(var.policy)
    SCALER_SHARDS = jsonencode([for name, shard in var.shards : merge(try(var.shard_policies[name], {}), {
      name                = name
      scale_set_id        = local.scale_set_ids[name]
      max_bridges         = shard.max_bridges
      recycle_surge       = shard.surge
      image_definition_id = module.image.definition_id
      image_template_id   = module.image.template_id
    })])
  }
}

module "access" {
  source          = "./modules/access"
  name            = local.name
  parent_id       = local.group_id
  subscription_id = local.subscription_id
  principal_id    = azapi_resource.app_identity.output.properties.principalId
  identity_id     = azapi_resource.app_identity.id
  scopes = {
    scale_set         = { for name, shard in module.shard : name => shard.scale_set_id }
    prefix            = { for name, shard in module.shard : name => shard.prefix_id }
    identity          = { for name, identity in azapi_resource.bridge_identity : name => identity.id }
    group             = { here = local.group_id }
    subnet            = { bridges = module.network.subnets["bridges"] }
    security_group    = { bridges = module.network.bridges_security_group_id }
    application_group = { bridges = module.network.bridges_application_group_id }
    gallery           = { bridges = module.image.gallery_id }
    template          = { bridges = module.image.template_id }
    subscription      = { here = "/subscriptions/${local.subscription_id}" }
  }
  monitoring_reader = var.monitoring_reader
}
