# What a bridge is made of and told. Both halves stand in cloud_init/, which tells what they do.

locals {
  cloud_init = "${path.module}/../cloud_init"

  # --- the image ------------------------------------------------------------------------------

  image_inputs = jsondecode(file("${local.cloud_init}/image/inputs.json"))
  image_scripts = [
    "echo ${filebase64("${local.cloud_init}/image/bake.sh")} | base64 -d > /tmp/bake.sh",
    "sudo ${join(" ", [for name, value in local.image_inputs : "${upper(name)}='${value}'"])} bash /tmp/bake.sh",
  ]
  image_proofs = [
    "echo ${filebase64("${local.cloud_init}/image/prove.sh")} | base64 -d > /tmp/prove.sh",
    "sudo bash /tmp/prove.sh",
  ]

  # --- custom data ----------------------------------------------------------------------------

  vm_files = {
    for name in fileset("${local.cloud_init}/vm", "*") :
    replace(replace(name, "-", "_"), ".", "_") => base64gzip(file("${local.cloud_init}/vm/${name}"))
  }

  # Every field: only our own renderer has defaults. No secret stands here, only where it lies.
  boot_settings = {
    for name, shard in var.shards : name => {
      shard = name
      xmpp = {
        host   = shard.signalling.address
        port   = 5222
        domain = shard.signalling.domain
        user   = shard.signalling.user
        muc    = shard.signalling.muc
      }
      key_vault = {
        uri             = module.vault.uri
        audience        = "vault.azure.net"
        password_secret = shard.signalling.secret_name
        ca_secret       = shard.signalling.ca_pem == null ? null : "${shard.signalling.secret_name}-ca"
      }
      identity_client_id   = azapi_resource.bridge_identity[name].output.properties.clientId
      stun                 = shard.stun
      relay_region         = null
      bridge_port          = 8080
      boot_timeout_minutes = try(local.policies[name].boot_timeout_minutes, 10)
      callback_url         = module.app.boot_url
    }
  }

  custom_data = {
    for name, settings in local.boot_settings : name => templatefile(
      "${local.cloud_init}/cloud-config.yaml",
      merge(local.vm_files, { settings = base64encode(jsonencode(settings)) }),
    )
  }
}
