# The log: Application Insights over a workspace, for bearers of a token only.

resource "azapi_resource" "workspace" {
  type      = "Microsoft.OperationalInsights/workspaces@2025-07-01"
  name      = "log-${local.name}"
  parent_id = local.group_id
  location  = var.location
  tags      = local.tags
  body = {
    properties = {
      sku              = { name = "PerGB2018" }
      retentionInDays  = var.log_retention_days
      workspaceCapping = { dailyQuotaGb = 1 }
      features         = { disableLocalAuth = true, enableLogAccessUsingOnlyResourcePermissions = true }
    }
  }
}

resource "azapi_resource" "insights" {
  type      = "Microsoft.Insights/components@2020-02-02"
  name      = "appi-${local.name}"
  parent_id = local.group_id
  location  = var.location
  tags      = local.tags
  body = {
    kind = "web"
    properties = {
      Application_Type    = "web"
      WorkspaceResourceId = azapi_resource.workspace.id
      IngestionMode       = "LogAnalytics"
      DisableLocalAuth    = true
    }
  }

  response_export_values = ["properties.ConnectionString"]
}

resource "azapi_resource" "telemetry_writer" {
  type      = "Microsoft.Authorization/roleAssignments@2022-04-01"
  name      = uuidv5("url", "${azapi_resource.insights.id}|${azapi_resource.app_identity.id}")
  parent_id = azapi_resource.insights.id
  body = {
    properties = {
      roleDefinitionId = "/subscriptions/${local.subscription_id}/providers/Microsoft.Authorization/roleDefinitions/3913510d-42f4-4e42-8a64-420c390055eb" # Monitoring Metrics Publisher
      principalId      = azapi_resource.app_identity.output.properties.principalId
      principalType    = "ServicePrincipal"
    }
  }
}
