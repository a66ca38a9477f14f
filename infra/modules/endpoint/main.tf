# A private endpoint, and the zone by which the network finds it.

variable "name" { type = string }
variable "link_name" { type = string }
variable "location" { type = string }
variable "parent_id" { type = string }
variable "tags" { type = map(string) }
variable "zone" { type = string }
variable "target_id" { type = string }
variable "group" {
  description = "Which part of the target it leads to: blob, table, sites."
  type        = string
}
variable "network_id" { type = string }
variable "subnet_id" { type = string }
variable "application_group_ids" {
  description = "Application security groups that it belongs to: rules of the subnet speak of them."
  type        = list(string)
  default     = []
}

resource "azapi_resource" "zone" {
  type      = "Microsoft.Network/privateDnsZones@2024-06-01"
  name      = var.zone
  parent_id = var.parent_id
  location  = "global"
  tags      = var.tags
  body      = { properties = {} }
}

resource "azapi_resource" "zone_link" {
  type      = "Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01"
  name      = var.link_name
  parent_id = azapi_resource.zone.id
  location  = "global"
  tags      = var.tags
  body      = { properties = { registrationEnabled = false, virtualNetwork = { id = var.network_id } } }
}

resource "azapi_resource" "endpoint" {
  type      = "Microsoft.Network/privateEndpoints@2025-05-01"
  name      = var.name
  parent_id = var.parent_id
  location  = var.location
  tags      = var.tags
  body = {
    properties = {
      subnet                    = { id = var.subnet_id }
      applicationSecurityGroups = [for id in var.application_group_ids : { id = id }]
      privateLinkServiceConnections = [{
        name       = var.group
        properties = { privateLinkServiceId = var.target_id, groupIds = [var.group] }
      }]
    }
  }
}

resource "azapi_resource" "dns" {
  type      = "Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-05-01"
  name      = "default"
  parent_id = azapi_resource.endpoint.id
  body = {
    properties = { privateDnsZoneConfigs = [{ name = var.group, properties = { privateDnsZoneId = azapi_resource.zone.id } }] }
  }
}
