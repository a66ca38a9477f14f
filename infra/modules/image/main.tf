# The bridges' image: a gallery, its definition, and the template whose run makes a new version.
# The app starts a run before each night. The first one is started here, since a scale set cannot be made of nothing.

variable "name" { type = string }
variable "location" { type = string }
variable "parent_id" { type = string }
variable "tags" { type = map(string) }
variable "source_image" { type = object({ publisher = string, offer = string, sku = string, vm_size = string }) }
variable "scripts" {
  description = "Shell lines that turn the source into a bridge."
  type        = list(string)
}
variable "proofs" {
  description = "Shell lines that must succeed on a machine made of the new image."
  type        = list(string)
}

locals {
  # A template cannot be changed in place, so another content is another template.
  content = substr(sha256(jsonencode([var.source_image, var.scripts, var.proofs])), 0, 8)
}

resource "azapi_resource" "gallery" {
  type      = "Microsoft.Compute/galleries@2025-03-03"
  name      = "gal_${replace(var.name, "-", "_")}"
  parent_id = var.parent_id
  location  = var.location
  tags      = var.tags
  body      = { properties = { description = "Images of the bridges" } }
}

resource "azapi_resource" "definition" {
  type      = "Microsoft.Compute/galleries/images@2025-03-03"
  name      = "jvb"
  parent_id = azapi_resource.gallery.id
  location  = var.location
  tags      = var.tags
  body = {
    properties = {
      osType           = "Linux"
      osState          = "Generalized"
      hyperVGeneration = "V2"
      architecture     = "x64"
      identifier       = { publisher = "jvb-autoscaler", offer = "jitsi-videobridge", sku = var.name }
      features = [
        { name = "SecurityType", value = "TrustedLaunchSupported" },
        { name = "IsAcceleratedNetworkSupported", value = "True" },
      ]
    }
  }
}

resource "azapi_resource" "identity" {
  type      = "Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30"
  name      = "id-${var.name}-image"
  parent_id = var.parent_id
  location  = var.location
  tags      = var.tags
  body      = {}

  response_export_values = ["properties.principalId"]
}

resource "azapi_resource" "role" {
  type      = "Microsoft.Authorization/roleDefinitions@2022-04-01"
  name      = uuidv5("url", "${var.parent_id}/${var.name}/image-builder")
  parent_id = "/subscriptions/${split("/", var.parent_id)[2]}"
  body = {
    properties = {
      roleName         = "${var.name} image builder (${substr(sha256(var.parent_id), 0, 6)})"
      description      = "Write versions of one image definition"
      type             = "CustomRole"
      assignableScopes = [var.parent_id]
      permissions = [{
        actions = [
          "Microsoft.Compute/galleries/read",
          "Microsoft.Compute/galleries/images/read",
          "Microsoft.Compute/galleries/images/versions/read",
          "Microsoft.Compute/galleries/images/versions/write",
        ]
        notActions     = []
        dataActions    = []
        notDataActions = []
      }]
    }
  }
}

resource "azapi_resource" "assignment" {
  type      = "Microsoft.Authorization/roleAssignments@2022-04-01"
  name      = uuidv5("url", "${azapi_resource.gallery.id}/image-builder")
  parent_id = azapi_resource.gallery.id
  body = {
    properties = {
      roleDefinitionId = azapi_resource.role.id
      principalId      = azapi_resource.identity.output.properties.principalId
      principalType    = "ServicePrincipal"
    }
  }
}

resource "azapi_resource" "template" {
  type       = "Microsoft.VirtualMachineImages/imageTemplates@2024-02-01"
  name       = "it-${var.name}-${local.content}"
  parent_id  = var.parent_id
  location   = var.location
  tags       = var.tags
  depends_on = [azapi_resource.assignment]

  identity {
    type         = "UserAssigned"
    identity_ids = [azapi_resource.identity.id]
  }

  body = {
    properties = {
      buildTimeoutInMinutes = 90
      vmProfile             = { vmSize = var.source_image.vm_size, osDiskSizeGB = 32 }
      source = {
        type      = "PlatformImage"
        publisher = var.source_image.publisher
        offer     = var.source_image.offer
        sku       = var.source_image.sku
        version   = "latest"
      }
      customize = [{ type = "Shell", name = "bridge", inline = var.scripts }]
      validate  = { inVMValidations = [{ type = "Shell", name = "bridge", inline = var.proofs }] }
      distribute = [{
        type           = "SharedImage"
        runOutputName  = "jvb"
        galleryImageId = azapi_resource.definition.id
        # 1.0.0, 1.0.1, ...: sorted as three numbers, the newest is the largest.
        versioning    = { scheme = "Latest", major = 1 }
        targetRegions = [{ name = var.location, replicaCount = 1, storageAccountType = "Standard_ZRS" }]
        artifactTags  = { content = local.content }
      }]
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "azapi_resource_action" "first_build" {
  type        = "Microsoft.VirtualMachineImages/imageTemplates@2024-02-01"
  resource_id = azapi_resource.template.id
  action      = "run"
  method      = "POST"

  timeouts {
    create = "2h"
  }
}

output "definition_id" {
  value = azapi_resource.definition.id
  # Who makes machines of it waits for the first version.
  depends_on = [azapi_resource_action.first_build]
}
output "gallery_id" { value = azapi_resource.gallery.id }
output "template_id" { value = azapi_resource.template.id }
