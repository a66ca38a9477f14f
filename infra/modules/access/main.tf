# What the app's identity may do, and on what. actions.json is the whole list, one role for each kind of scope:
# a test holds it against docs/permissions.md, and that against the calls that the app makes.

variable "name" { type = string }
variable "parent_id" { type = string }
variable "subscription_id" { type = string }
variable "principal_id" { type = string }
variable "identity_id" { type = string }
variable "scopes" {
  description = "By kind of scope, as in actions.json: what it is assigned on, by a name that is known beforehand."
  type        = map(map(string))
}
variable "monitoring_reader" {
  description = "Whether to give the built-in role Monitoring Reader on the subscription, which metrics:getBatch is documented to need."
  type        = bool
}

locals {
  actions      = jsondecode(file("${path.module}/actions.json"))
  subscription = "/subscriptions/${var.subscription_id}"
  home         = { for kind in keys(local.actions) : kind => kind == "subscription" ? local.subscription : var.parent_id }
  custom       = merge([for kind, scopes in var.scopes : { for name, scope in scopes : "${kind}/${name}" => { kind = kind, scope = scope } }]...)
}

resource "azapi_resource" "role" {
  for_each  = local.actions
  type      = "Microsoft.Authorization/roleDefinitions@2022-04-01"
  name      = uuidv5("url", "${local.home[each.key]}|${var.parent_id}|${var.name}|${each.key}")
  parent_id = local.subscription # where Azure lists every custom role, whatever it may be assigned on
  body = {
    properties = {
      # Names of roles are unique in a tenant.
      roleName         = "${var.name} autoscaler ${replace(each.key, "_", " ")} (${substr(sha256(var.parent_id), 0, 6)})"
      description      = "What jvb-autoscaler does on a ${replace(each.key, "_", " ")}: docs/permissions.md"
      type             = "CustomRole"
      assignableScopes = [local.home[each.key]]
      permissions      = [{ actions = each.value, notActions = [], dataActions = [], notDataActions = [] }]
    }
  }
}

resource "azapi_resource" "assignment" {
  for_each  = local.custom
  type      = "Microsoft.Authorization/roleAssignments@2022-04-01"
  name      = uuidv5("url", "${var.parent_id}|${var.identity_id}|${each.key}")
  parent_id = each.value.scope
  body = {
    properties = { roleDefinitionId = azapi_resource.role[each.value.kind].id, principalId = var.principal_id, principalType = "ServicePrincipal" }
  }
}

resource "azapi_resource" "monitoring_reader" {
  count     = var.monitoring_reader ? 1 : 0
  type      = "Microsoft.Authorization/roleAssignments@2022-04-01"
  name      = uuidv5("url", "${var.parent_id}|${var.identity_id}|monitoring-reader")
  parent_id = local.subscription
  body = {
    properties = {
      roleDefinitionId = "/subscriptions/${var.subscription_id}/providers/Microsoft.Authorization/roleDefinitions/43d0d8ad-25c7-4714-9337-8ba259a9fe05"
      principalId      = var.principal_id
      principalType    = "ServicePrincipal"
    }
  }
}
