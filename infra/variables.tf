variable "resource_group_name" {
  description = "An existing resource group that holds nothing but this installation: the app may write virtual machines in it."
  type        = string
}

variable "location" {
  description = "Region of everything, as Azure writes it in ids: westeurope, not West Europe."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9]+$", var.location))
    error_message = "location: is '${var.location}', allowed: lower case letters and digits, as westeurope."
  }
}

variable "name" {
  description = "Begins the name of everything, with the environment behind it."
  type        = string
  default     = "jvb"

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,7}$", var.name))
    error_message = "name: is '${var.name}', allowed: 2 to 8 lower case letters and digits, a letter first."
  }
}

variable "environment" {
  description = "dev or prod: stands in names and tags."
  type        = string

  validation {
    condition     = contains(["dev", "prod"], var.environment)
    error_message = "environment: is '${var.environment}', allowed: dev or prod."
  }
}

variable "owner" {
  description = "Name of this installation. Scale sets carry it as the tag jvb-autoscaler-owner, and the app writes to no other."
  type        = string
  default     = "jvb-autoscaler"
}

variable "dry_run" {
  description = "true: the app decides and records, and changes nothing but its own tables."
  type        = bool
  default     = true
}

variable "shards" {
  description = "One entry for each scale set with the Prosody and Jicofo that its bridges join, by shard name. environments/ has examples."
  type = map(object({
    zone        = string
    vm_size     = optional(string, "Standard_F4s_v2")
    max_bridges = number
    surge       = optional(number, 1)
    spot        = optional(bool, false)
    os_disk_gb  = optional(number, 32)
    stun        = optional(list(string), []) # "host:port", asked only where Azure does not tell the public address
    signalling = object({
      address     = string
      domain      = string
      muc         = string
      user        = optional(string, "jvb")
      secret_name = string
      ca_pem      = optional(string) # of the private CA of its certificate; none: a public CA
    })
  }))

  validation {
    condition     = length(var.shards) > 0
    error_message = "shards: is empty, allowed: at least one."
  }
  validation {
    condition     = alltrue([for name in keys(var.shards) : can(regex("^[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?$", name))])
    error_message = "shards: a name is not allowed: a-z, 0-9 and -, at most 24, no - at an end."
  }
  validation {
    condition     = alltrue([for shard in var.shards : contains(["1", "2", "3"], shard.zone)])
    error_message = "shards: a zone is not 1, 2 or 3. One shard lies in one zone."
  }
  validation {
    condition     = alltrue([for shard in var.shards : shard.max_bridges >= 1 && shard.surge >= 1 && shard.max_bridges == floor(shard.max_bridges) && shard.surge == floor(shard.surge)])
    error_message = "shards: max_bridges and surge must be whole numbers of at least 1 (the night adds a canary)."
  }
  validation {
    condition = alltrue([for shard in var.shards : shard.max_bridges + shard.surge <= 16])
    error_message = join(" ", concat(["shards: a public IP prefix holds at most 16 addresses, and every bridge needs one."], [
      for name, shard in var.shards :
      "${name} asks for max_bridges ${shard.max_bridges} + surge ${shard.surge} = ${shard.max_bridges + shard.surge}: lower it, or split it into two shards."
      if shard.max_bridges + shard.surge > 16
    ]))
  }
  validation {
    condition     = alltrue([for shard in var.shards : can(regex("^[a-zA-Z0-9-]{1,127}$", shard.signalling.secret_name))])
    error_message = "shards: a signalling.secret_name is no name of a Key Vault secret: letters, digits and -."
  }
  validation {
    condition     = length(distinct([for shard in var.shards : shard.signalling.secret_name])) == length(var.shards)
    error_message = "shards: two shards have the same signalling.secret_name; bridges of one shard must not read the secret of another."
  }
}

variable "policy" {
  description = "Policy fields for all shards: docs/policy.md has each with its range. The app checks them, and status lists every fault."
  type        = any
  default     = {}
}

variable "shard_policies" {
  description = "Policy fields of single shards, by shard name; they go before policy."
  type        = any
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.shard_policies), keys(var.shards))) == 0
    error_message = "shard_policies: names no shard: ${join(", ", setsubtract(keys(var.shard_policies), keys(var.shards)))}."
  }
  validation {
    condition = alltrue([for policy in concat([var.policy], values(var.shard_policies)) :
    length(setintersection(keys(policy), ["name", "scale_set_id", "max_bridges", "recycle_surge", "image_definition_id", "image_template_id"])) == 0])
    error_message = "policy, shard_policies: max_bridges and recycle_surge come from shards (surge), the ids from what is made here; none of them may stand in a policy."
  }
}

variable "network" {
  description = "Address space, and one subnet for each role. They must not overlap."
  type = object({
    address_space = string
    bridges       = string
    signalling    = string
    function      = string
    endpoints     = string
  })
  default = {
    address_space = "10.20.0.0/16"
    bridges       = "10.20.0.0/24"
    signalling    = "10.20.1.0/24"
    function      = "10.20.2.0/27"
    endpoints     = "10.20.2.32/28"
  }

  validation {
    condition     = alltrue([for cidr in values(var.network) : can(cidrhost(cidr, 0))])
    error_message = "network: not every value is a CIDR, as 10.20.0.0/24."
  }
  validation {
    condition     = try(tonumber(split("/", var.network.function)[1]), 32) <= 27
    error_message = "network.function: is ${var.network.function}, allowed: /27 or larger, which Flex Consumption asks for."
  }
}

variable "private_storage" {
  description = "true: the app reaches its storage over private endpoints, and from outside only operator_addresses may."
  type        = bool
  default     = true
}

variable "instance_memory_mb" {
  description = "Memory of an instance of the app, which also sets its CPU. 512 costs a quarter; how fast the app starts there nobody has measured on Azure."
  type        = number
  default     = 2048

  validation {
    condition     = contains([512, 2048, 4096], var.instance_memory_mb)
    error_message = "allowed: 512, 2048, 4096"
  }
}

variable "boot_reports" {
  description = "true: a bridge tells the app how its first boot went, over a private endpoint; false: boots are found by the poll alone."
  type        = bool
  default     = true
}

variable "operator_addresses" {
  description = "Public CIDRs from which people write the secrets and read the tables, such as [\"203.0.113.7/32\"]."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.operator_addresses : can(cidrhost(cidr, 0)) && !endswith(cidr, "/0")])
    error_message = "operator_addresses: each must be a CIDR, and none the whole Internet."
  }
}

variable "admin_ssh_public_key" {
  description = "Public key for the account jvbadmin of the bridges. No network path leads to their port 22: it serves the serial console and Bastion."
  type        = string

  validation {
    condition     = can(regex("^(ssh-(rsa|ed25519)|ecdsa-sha2-)", var.admin_ssh_public_key))
    error_message = "admin_ssh_public_key: is no public key; it begins with ssh-ed25519 or ssh-rsa."
  }
}

variable "monitoring_reader" {
  description = "true: the app's identity gets the built-in role Monitoring Reader on the subscription, as the metrics service documents it. false: only the two actions of a role of our own, not yet tried."
  type        = bool
  default     = true
}

variable "alert_emails" {
  description = "Who is told when the autoscaler needs a person."
  type        = list(string)
  default     = []
}

variable "alerts_connected" {
  description = "true from the second apply on, after the first publish: the load alerts then call the app's function alert. Its key is read at each apply and kept nowhere."
  type        = bool
  default     = false
}

variable "xmpp_passwords" {
  description = "Password of each shard's signalling.user, by shard name. Needed at the apply that creates a shard; it goes to the Key Vault and never into the state. Give it as TF_VAR_xmpp_passwords."
  type        = map(string)
  default     = {}
  sensitive   = true
  ephemeral   = true
}

variable "image" {
  description = "What the bridges' image is made of."
  type = object({
    publisher = optional(string, "Canonical")
    offer     = optional(string, "ubuntu-24_04-lts")
    sku       = optional(string, "server")
    vm_size   = optional(string, "Standard_D2s_v5")
  })
  default = {}
}

variable "log_retention_days" {
  description = "How long the workspace keeps the log."
  type        = number
  default     = 30
}

variable "expires_on" {
  description = "Date for the tag expires-on of a throw-away installation, as 2026-12-31; empty: none."
  type        = string
  default     = ""

  validation {
    condition     = var.expires_on == "" || can(regex("^[0-9]{4}-[0-9]{2}-[0-9]{2}$", var.expires_on))
    error_message = "expires_on: is '${var.expires_on}', allowed: a date as 2026-12-31, or empty."
  }
}

variable "tags" {
  description = "More tags for everything, such as a cost centre."
  type        = map(string)
  default     = {}
}
