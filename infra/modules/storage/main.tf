# The app's storage: tables that people read, and the blobs of the Functions host. No shared key opens it.

variable "name" { type = string }
variable "account_name" { type = string }
variable "location" { type = string }
variable "parent_id" { type = string }
variable "tags" { type = map(string) }
variable "private" { type = bool }
variable "operator_addresses" { type = list(string) }
variable "network_id" { type = string }
variable "endpoints_subnet_id" { type = string }
variable "redundancy" { type = string }
variable "subscription_id" { type = string }
variable "principal_id" { type = string }
variable "identity_id" { type = string }

locals {
  container = "app-package"
  services  = var.private ? toset(["blob", "table"]) : toset([])
  roles = {
    tables = "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3" # Storage Table Data Contributor: the app makes its tables
    host   = "b7e6dc6d-f1e8-4753-8033-0f276bb0955b" # Storage Blob Data Owner: locks, keys, package
  }
}

resource "azapi_resource" "account" {
  type      = "Microsoft.Storage/storageAccounts@2025-06-01"
  name      = var.account_name
  parent_id = var.parent_id
  location  = var.location
  tags      = var.tags
  body = {
    kind = "StorageV2"
    sku  = { name = var.redundancy }
    properties = {
      accessTier                   = "Hot"
      allowBlobPublicAccess        = false
      allowSharedKeyAccess         = false
      allowCrossTenantReplication  = false
      defaultToOAuthAuthentication = true
      minimumTlsVersion            = "TLS1_2"
      supportsHttpsTrafficOnly     = true
      publicNetworkAccess          = "Enabled"
      networkAcls = {
        bypass        = "AzureServices"
        defaultAction = var.private ? "Deny" : "Allow"
        ipRules       = [for cidr in var.operator_addresses : { value = trimsuffix(cidr, "/32"), action = "Allow" }]
      }
    }
  }
}

resource "azapi_resource" "blob_service" {
  type      = "Microsoft.Storage/storageAccounts/blobServices@2025-06-01"
  name      = "default"
  parent_id = azapi_resource.account.id
  body      = { properties = { deleteRetentionPolicy = { enabled = true, days = 7 } } }
}

resource "azapi_resource" "package" {
  type      = "Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01"
  name      = local.container
  parent_id = azapi_resource.blob_service.id
  body      = { properties = { publicAccess = "None" } }
}

resource "azapi_resource" "grant" {
  for_each  = local.roles
  type      = "Microsoft.Authorization/roleAssignments@2022-04-01"
  name      = uuidv5("url", "${azapi_resource.account.id}|${var.identity_id}|${each.key}")
  parent_id = azapi_resource.account.id
  body = {
    properties = {
      roleDefinitionId = "/subscriptions/${var.subscription_id}/providers/Microsoft.Authorization/roleDefinitions/${each.value}"
      principalId      = var.principal_id
      principalType    = "ServicePrincipal"
    }
  }
}

module "endpoint" {
  source     = "../endpoint"
  for_each   = local.services
  name       = "pe-${var.account_name}-${each.key}"
  link_name  = var.name
  location   = var.location
  parent_id  = var.parent_id
  tags       = var.tags
  zone       = "privatelink.${each.key}.core.windows.net"
  target_id  = azapi_resource.account.id
  group      = each.key
  network_id = var.network_id
  subnet_id  = var.endpoints_subnet_id
}

output "id" { value = azapi_resource.account.id }
output "name" {
  value = azapi_resource.account.name
  # The app must find its way into the account when it starts.
  depends_on = [module.endpoint, azapi_resource.grant]
}
output "package_url" { value = "https://${azapi_resource.account.name}.blob.core.windows.net/${azapi_resource.package.name}" }
