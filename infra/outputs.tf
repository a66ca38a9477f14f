output "function_app" {
  description = "Name of the Function App, for func and az."
  value       = module.app.name
}

output "url" {
  description = "Where the app answers."
  value       = module.app.url
}

output "scale_sets" {
  description = "Scale set of each shard."
  value       = { for name, shard in module.shard : name => shard.scale_set_id }
}

output "addresses" {
  description = "Public addresses of each shard's prefix: the length, and how many that are."
  value       = { for name, shard in module.shard : name => { prefix_length = shard.prefix_length, addresses = pow(2, 32 - shard.prefix_length) } }
}

output "key_vault" {
  description = "Where the XMPP passwords are rotated."
  value       = module.vault.uri
}

locals {
  key     = "az functionapp keys list --resource-group ${var.resource_group_name} --name ${module.app.name} --query functionKeys.default --output tsv"
  connect = "export JVB_AUTOSCALER_URL=${module.app.url} JVB_AUTOSCALER_KEY=$(${local.key})"
}

output "next" {
  description = "What to run now."
  value = var.alerts_connected ? (
    var.dry_run
    ? "${local.connect}; jvb-autoscaler preflight && jvb-autoscaler status   # then docs/runbook.md#switching-on"
    : "${local.connect}; jvb-autoscaler status"
  ) : "func azure functionapp publish ${module.app.name} --build remote && terraform -chdir=infra apply -var-file=environments/${var.environment}.tfvars -var=alerts_connected=true"
}
