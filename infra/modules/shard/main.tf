# One shard: one zone, one Flexible scale set, one prefix of public addresses, one identity.
# The app owns two things of it from the first tick on, the capacity and the image version; both are ignored here.

variable "name" { type = string }
variable "location" { type = string }
variable "parent_id" { type = string }
variable "tags" { type = map(string) }
variable "owner" { type = string }
variable "zone" { type = string }
variable "vm_size" { type = string }
variable "addresses" { type = number }
variable "spot" { type = bool }
variable "os_disk_gb" { type = number }
variable "subnet_id" { type = string }
variable "security_group_id" { type = string }
variable "application_group_id" { type = string }
variable "image_id" { type = string }
variable "identity_id" { type = string }
variable "custom_data" { type = string }
variable "admin_ssh_public_key" { type = string }

locals {
  # The smallest prefix that holds them; Azure has none larger than /28.
  prefix_length = var.addresses <= 2 ? 31 : var.addresses <= 4 ? 30 : var.addresses <= 8 ? 29 : 28
}

resource "azapi_resource" "prefix" {
  type      = "Microsoft.Network/publicIPPrefixes@2025-05-01"
  name      = "ippre-${var.name}"
  parent_id = var.parent_id
  location  = var.location
  tags      = var.tags
  body = {
    sku   = { name = "Standard", tier = "Regional" }
    zones = [var.zone]
    properties = {
      prefixLength           = local.prefix_length
      publicIPAddressVersion = "IPv4"
    }
  }

  lifecycle {
    precondition {
      condition     = var.addresses <= 16
      error_message = "${var.name}: ${var.addresses} public addresses are needed, and a prefix holds at most 16: lower max_bridges or surge, or split the shard."
    }
  }
}

resource "azapi_resource" "scale_set" {
  type      = "Microsoft.Compute/virtualMachineScaleSets@2025-04-01"
  name      = "vmss-${var.name}"
  parent_id = var.parent_id
  location  = var.location
  tags = merge(var.tags, {
    jvb-autoscaler-owner = var.owner
    # A machine takes its tags at its creation: the night replaces those with another value.
    jvb-autoscaler-config = substr(sha256("${var.custom_data}|${var.vm_size}"), 0, 12)
  })

  identity {
    type         = "UserAssigned"
    identity_ids = [var.identity_id]
  }

  body = {
    sku   = { name = var.vm_size, tier = "Standard", capacity = 0 }
    zones = [var.zone]
    properties = {
      orchestrationMode        = "Flexible"
      platformFaultDomainCount = 1
      singlePlacementGroup     = false
      # Two deciders would undo each other's work: no upgrades and no repairs but the app's.
      upgradePolicy          = { mode = "Manual" }
      automaticRepairsPolicy = { enabled = false }
      virtualMachineProfile = merge(
        {
          priority = var.spot ? "Spot" : "Regular"
          osProfile = {
            computerNamePrefix = "jvb"
            adminUsername      = "jvbadmin"
            customData         = base64encode(var.custom_data)
            linuxConfiguration = {
              disablePasswordAuthentication = true
              provisionVMAgent              = true
              patchSettings                 = { patchMode = "ImageDefault" } # patches come with the night's image
              ssh = { publicKeys = [{
                path    = format("/%s/jvbadmin/.ssh/authorized_keys", "home")
                keyData = var.admin_ssh_public_key
              }] }
            }
          }
          securityProfile = {
            securityType = "TrustedLaunch"
            uefiSettings = { secureBootEnabled = true, vTpmEnabled = true }
          }
          storageProfile = {
            imageReference = { id = var.image_id }
            osDisk = {
              createOption = "FromImage"
              deleteOption = "Delete"
              caching      = "ReadWrite"
              diskSizeGB   = var.os_disk_gb
              managedDisk  = { storageAccountType = "StandardSSD_LRS" }
            }
          }
          networkProfile = {
            networkApiVersion = "2022-11-01"
            networkInterfaceConfigurations = [{
              name = "media"
              properties = {
                primary                     = true
                enableAcceleratedNetworking = true
                deleteOption                = "Delete"
                networkSecurityGroup        = { id = var.security_group_id }
                ipConfigurations = [{
                  name = "media"
                  properties = {
                    primary                   = true
                    subnet                    = { id = var.subnet_id }
                    applicationSecurityGroups = [{ id = var.application_group_id }]
                    publicIPAddressConfiguration = {
                      name = "media"
                      sku  = { name = "Standard", tier = "Regional" }
                      properties = {
                        deleteOption   = "Delete"
                        publicIPPrefix = { id = azapi_resource.prefix.id }
                      }
                    }
                  }
                }]
              }
            }]
          }
          diagnosticsProfile = { bootDiagnostics = { enabled = true } }
        },
        # Spot knows no notice. A regular machine that somebody else deletes gets five minutes of it.
        [
          { scheduledEventsProfile = { terminateNotificationProfile = { enable = true, notBeforeTimeout = "PT5M" } } },
          { evictionPolicy = "Delete" },
        ][var.spot ? 1 : 0],
      )
    }
  }

  lifecycle {
    ignore_changes = [
      body.sku.capacity,
      body.properties.virtualMachineProfile.storageProfile.imageReference,
    ]
  }
}

output "scale_set_id" { value = azapi_resource.scale_set.id }
output "prefix_id" { value = azapi_resource.prefix.id }
output "prefix_length" { value = local.prefix_length }
