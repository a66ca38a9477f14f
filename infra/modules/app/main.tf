# The Function App: Flex Consumption, since the older Consumption plan cannot reach a virtual network.

variable "name" { type = string }
variable "app_name" { type = string }
variable "location" { type = string }
variable "parent_id" { type = string }
variable "tags" { type = map(string) }
variable "subnet_id" { type = string }
variable "identity_id" { type = string }
variable "client_id" { type = string }
variable "storage_name" { type = string }
variable "package_url" { type = string }
variable "insights_connection_string" { type = string }
variable "settings" { type = map(string) }
variable "memory_mb" { type = number }
variable "network_id" { type = string }
variable "endpoints_subnet_id" { type = string }
variable "application_group_id" { type = string }
variable "reached_from_bridges" { type = bool }

resource "azapi_resource" "plan" {
  type      = "Microsoft.Web/serverfarms@2025-03-01"
  name      = "plan-${var.name}"
  parent_id = var.parent_id
  location  = var.location
  tags      = var.tags
  body = {
    kind       = "functionapp"
    sku        = { name = "FC1", tier = "FlexConsumption" }
    properties = { reserved = true }
  }
}

resource "azapi_resource" "site" {
  type      = "Microsoft.Web/sites@2025-03-01"
  name      = var.app_name
  parent_id = var.parent_id
  location  = var.location
  tags      = var.tags

  identity {
    type         = "UserAssigned"
    identity_ids = [var.identity_id]
  }

  body = {
    kind = "functionapp,linux"
    properties = {
      serverFarmId           = azapi_resource.plan.id
      httpsOnly              = true
      virtualNetworkSubnetId = var.subnet_id
      publicNetworkAccess    = "Enabled" # Azure Monitor calls it from outside
      functionAppConfig = {
        runtime             = { name = "python", version = "3.13" }
        scaleAndConcurrency = { instanceMemoryMB = var.memory_mb, maximumInstanceCount = 40 }
        deployment = {
          storage = {
            type           = "blobContainer"
            value          = var.package_url
            authentication = { type = "UserAssignedIdentity", userAssignedIdentityResourceId = var.identity_id }
          }
        }
      }
      siteConfig = {
        minTlsVersion    = "1.2"
        scmMinTlsVersion = "1.2"
        ftpsState        = "Disabled"
        http20Enabled    = true
        cors             = { allowedOrigins = ["https://portal.azure.com"] } # the workbook asks from there
        appSettings = [for name, value in merge(var.settings, {
          AZURE_CLIENT_ID                           = var.client_id
          AzureWebJobsStorage__accountName          = var.storage_name
          AzureWebJobsStorage__credential           = "managedidentity"
          AzureWebJobsStorage__clientId             = var.client_id
          APPLICATIONINSIGHTS_CONNECTION_STRING     = var.insights_connection_string
          APPLICATIONINSIGHTS_AUTHENTICATION_STRING = "ClientId=${var.client_id};Authorization=AAD"
        }) : { name = name, value = value }]
      }
    }
  }

  response_export_values = ["properties.defaultHostName"]
}

# The way in for the bridges, which report their boots: from within the network, since they are told apart by the
# private address that Azure knows of each.

module "inside" {
  source                = "../endpoint"
  for_each              = toset(var.reached_from_bridges ? ["sites"] : [])
  name                  = "pe-${var.app_name}"
  link_name             = var.name
  location              = var.location
  parent_id             = var.parent_id
  tags                  = var.tags
  zone                  = "privatelink.azurewebsites.net"
  target_id             = azapi_resource.site.id
  group                 = each.key
  network_id            = var.network_id
  subnet_id             = var.endpoints_subnet_id
  application_group_ids = [var.application_group_id]
}

output "id" { value = azapi_resource.site.id }
output "name" { value = azapi_resource.site.name }
output "url" { value = "https://${azapi_resource.site.output.properties.defaultHostName}" }
output "boot_url" {
  value = var.reached_from_bridges ? "https://${azapi_resource.site.output.properties.defaultHostName}/api/bridges/boot" : null
  # A bridge must find its way to the app when it boots.
  depends_on = [module.inside]
}
