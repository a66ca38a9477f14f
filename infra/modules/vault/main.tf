# The XMPP passwords of the bridges. Each scale set's identity may read the one secret of its own shard.

variable "vault_name" { type = string }
variable "location" { type = string }
variable "parent_id" { type = string }
variable "tags" { type = map(string) }
variable "tenant_id" { type = string }
variable "subscription_id" { type = string }
variable "bridges_subnet_id" { type = string }
variable "operator_addresses" { type = list(string) }
variable "secrets" {
  description = "By shard: the secret's name, the identity that may read it, and the certificate of a private CA beside it."
  type        = map(object({ name = string, identity_id = string, principal_id = string, ca_pem = optional(string) }))
}
variable "values" {
  description = "By shard. Read when a secret is created, and never again."
  type        = map(string)
  sensitive   = true
  ephemeral   = true
}

locals {
  secrets_user = "/subscriptions/${var.subscription_id}/providers/Microsoft.Authorization/roleDefinitions/4633458b-17de-408a-b874-0445c86b69e6"
}

resource "azapi_resource" "vault" {
  type      = "Microsoft.KeyVault/vaults@2025-05-01"
  name      = var.vault_name
  parent_id = var.parent_id
  location  = var.location
  tags      = var.tags
  body = {
    properties = {
      tenantId                  = var.tenant_id
      sku                       = { family = "A", name = "standard" }
      enableRbacAuthorization   = true
      enableSoftDelete          = true
      softDeleteRetentionInDays = 90
      enablePurgeProtection     = true
      publicNetworkAccess       = "Enabled"
      networkAcls = {
        bypass              = "AzureServices"
        defaultAction       = "Deny"
        ipRules             = [for cidr in var.operator_addresses : { value = cidr }]
        virtualNetworkRules = [{ id = var.bridges_subnet_id, ignoreMissingVnetServiceEndpoint = false }]
      }
    }
  }
}

resource "azapi_resource" "secret" {
  for_each  = var.secrets
  type      = "Microsoft.KeyVault/vaults/secrets@2025-05-01"
  name      = each.value.name
  parent_id = azapi_resource.vault.id
  body      = { properties = { contentType = "XMPP password of the bridges of ${each.key}" } }

  # Write-only: sent at the creation, kept in no state and no plan. Later versions are written by people.
  sensitive_body         = { properties = { for name, value in { value = lookup(var.values, each.key, null) } : name => value if value != null } }
  sensitive_body_version = { "properties.value" = "1" }

  lifecycle {
    ignore_changes = [body, sensitive_body_version]
  }
}

resource "azapi_resource" "reader" {
  for_each  = var.secrets
  type      = "Microsoft.Authorization/roleAssignments@2022-04-01"
  name      = uuidv5("url", "${azapi_resource.secret[each.key].id}|${each.value.identity_id}")
  parent_id = azapi_resource.secret[each.key].id
  body = {
    properties = { roleDefinitionId = local.secrets_user, principalId = each.value.principal_id, principalType = "ServicePrincipal" }
  }
}

# The certificate of a private CA is no secret. It lies here because the bridges look here.
resource "azapi_resource" "authority" {
  for_each  = { for shard, secret in var.secrets : shard => secret if secret.ca_pem != null }
  type      = "Microsoft.KeyVault/vaults/secrets@2025-05-01"
  name      = "${each.value.name}-ca"
  parent_id = azapi_resource.vault.id
  body      = { properties = { contentType = "application/x-pem-file", value = each.value.ca_pem } }
}

resource "azapi_resource" "authority_reader" {
  for_each  = azapi_resource.authority
  type      = "Microsoft.Authorization/roleAssignments@2022-04-01"
  name      = uuidv5("url", "${each.value.id}|${var.secrets[each.key].identity_id}")
  parent_id = each.value.id
  body = {
    properties = { roleDefinitionId = local.secrets_user, principalId = var.secrets[each.key].principal_id, principalType = "ServicePrincipal" }
  }
}

output "id" { value = azapi_resource.vault.id }
output "uri" { value = "https://${azapi_resource.vault.name}.vault.azure.net" }
