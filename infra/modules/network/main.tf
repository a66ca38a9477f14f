# One network with a subnet for each role. Every subnet has a security group of its own, whose last rule closes
# what Azure's default AllowVnetInBound would leave open between them.

variable "name" { type = string }
variable "location" { type = string }
variable "parent_id" { type = string }
variable "tags" { type = map(string) }
variable "network" {
  type = object({ address_space = string, bridges = string, signalling = string, function = string, endpoints = string })
}

locals {
  media     = { protocol = "Udp", port = "10000" }
  colibri   = { protocol = "Tcp", port = "8080" }
  xmpp      = { protocol = "Tcp", port = "5222" }
  https     = { protocol = "Tcp", port = "443" }
  groups    = toset(["bridges", "app"])
  group_ids = { for name in local.groups : name => azapi_resource.application_group[name].id }

  # What may come in, by subnet. `from` is an address, a service tag, or the name of an application security group.
  # A test lists the same triples of role, port and source: a new line here fails it.
  inbound = {
    bridges = [
      merge(local.media, { name = "media-from-internet", priority = 100, from = "Internet", to_group = "bridges" }),
      merge(local.media, { name = "media-from-bridges", priority = 110, from_group = "bridges", to_group = "bridges" }),
      merge(local.colibri, { name = "colibri-from-function", priority = 200, from = var.network.function, to_group = "bridges" }),
    ]
    signalling = [
      merge(local.https, { name = "https-from-internet", priority = 100, from = "Internet" }),
      merge(local.xmpp, { name = "xmpp-from-bridges", priority = 200, from_group = "bridges" }),
    ]
    function = []
    endpoints = [
      merge(local.https, { name = "https-from-function", priority = 100, from = var.network.function }),
      # A booting bridge tells the app how it went; the storage beside it stays closed to bridges.
      merge(local.https, { name = "https-from-bridges", priority = 110, from_group = "bridges", to_group = "app" }),
    ]
  }
}

resource "azapi_resource" "application_group" {
  for_each  = local.groups
  type      = "Microsoft.Network/applicationSecurityGroups@2025-05-01"
  name      = "asg-${var.name}-${each.key}"
  parent_id = var.parent_id
  location  = var.location
  tags      = var.tags
  body      = { properties = {} }
}

resource "azapi_resource" "security_group" {
  for_each  = local.inbound
  type      = "Microsoft.Network/networkSecurityGroups@2025-05-01"
  name      = "nsg-${var.name}-${each.key}"
  parent_id = var.parent_id
  location  = var.location
  tags      = var.tags
  body = {
    properties = {
      securityRules = concat([for rule in each.value : {
        name = rule.name
        properties = merge(
          {
            priority             = rule.priority
            direction            = "Inbound"
            access               = "Allow"
            protocol             = rule.protocol
            sourcePortRange      = "*"
            destinationPortRange = rule.port
          },
          try({ sourceApplicationSecurityGroups = [{ id = local.group_ids[rule.from_group] }] }, { sourceAddressPrefix = rule.from }),
          try({ destinationApplicationSecurityGroups = [{ id = local.group_ids[rule.to_group] }] }, { destinationAddressPrefix = "*" }),
        )
        }], [{
        name = "nothing-else"
        properties = {
          priority                 = 4000
          direction                = "Inbound"
          access                   = "Deny"
          protocol                 = "*"
          sourcePortRange          = "*"
          sourceAddressPrefix      = "*"
          destinationPortRange     = "*"
          destinationAddressPrefix = "*"
        }
      }])
    }
  }
}

resource "azapi_resource" "network" {
  type      = "Microsoft.Network/virtualNetworks@2025-05-01"
  name      = "vnet-${var.name}"
  parent_id = var.parent_id
  location  = var.location
  tags      = var.tags
  body = {
    properties = {
      addressSpace = { addressPrefixes = [var.network.address_space] }
      # In one body: Azure lets only one write at a time change the subnets of a network.
      subnets = [
        {
          name = "snet-bridges"
          properties = {
            addressPrefix         = var.network.bridges
            networkSecurityGroup  = { id = azapi_resource.security_group["bridges"].id }
            serviceEndpoints      = [{ service = "Microsoft.KeyVault" }]
            defaultOutboundAccess = false # each bridge has a public address of its own
          }
        },
        {
          name = "snet-signalling"
          properties = {
            addressPrefix        = var.network.signalling
            networkSecurityGroup = { id = azapi_resource.security_group["signalling"].id }
          }
        },
        {
          name = "snet-function"
          properties = {
            addressPrefix        = var.network.function
            networkSecurityGroup = { id = azapi_resource.security_group["function"].id }
            delegations          = [{ name = "flex-consumption", properties = { serviceName = "Microsoft.App/environments" } }]
          }
        },
        {
          name = "snet-endpoints"
          properties = {
            addressPrefix                  = var.network.endpoints
            networkSecurityGroup           = { id = azapi_resource.security_group["endpoints"].id }
            privateEndpointNetworkPolicies = "NetworkSecurityGroupEnabled"
            defaultOutboundAccess          = false
          }
        },
      ]
    }
  }
}

output "id" { value = azapi_resource.network.id }
output "subnets" {
  value = { for role in keys(local.inbound) : role => "${azapi_resource.network.id}/subnets/snet-${role}" }
}
output "bridges_security_group_id" { value = azapi_resource.security_group["bridges"].id }
output "bridges_application_group_id" { value = azapi_resource.application_group["bridges"].id }
output "app_application_group_id" { value = azapi_resource.application_group["app"].id }
