# Two roads. Load alerts of Azure Monitor call the app, which ticks early and decides nothing else by them.
# Alerts of the autoscaler itself, read from its log, go to people; each names its section of docs/runbook.md.

variable "name" { type = string }
variable "unique" { type = string }
variable "location" { type = string }
variable "parent_id" { type = string }
variable "tags" { type = map(string) }
variable "emails" { type = list(string) }
variable "connected" { type = bool }
variable "function_app_id" { type = string }
variable "function_app_url" { type = string }
variable "scale_set_ids" { type = map(string) }
variable "nic_alert_mbps" { type = map(number) }
variable "workspace_id" { type = string }
variable "insights_component" { type = string }

locals {
  # Severity by kind of alert. A kind that is missing here is told with severity 3; a test keeps the list whole.
  kinds   = jsondecode(file("${path.module}/alert_kinds.json"))
  runbook = "docs/runbook.md"

  # What is late in the log must not be missed: by the time of its arrival, in a window that looks further back.
  arrived = "AppTraces | where ingestion_time() > ago(5m)"
  told    = <<-KQL
    ${local.arrived}
    | where Message startswith "alert "
    | parse Message with "alert " subject ": " kind ": " text
    | extend runbook = strcat("${local.runbook}#", kind)
  KQL
  by_severity = {
    for severity in ["1", "2", "3"] : "severity-${severity}" => {
      severity = tonumber(severity)
      kinds    = sort([for kind, of in local.kinds : kind if tostring(of) == severity])
    }
  }
}

# --- people ---------------------------------------------------------------------------------

resource "azapi_resource" "people" {
  type      = "Microsoft.Insights/actionGroups@2023-01-01"
  name      = "ag-${var.name}-people"
  parent_id = var.parent_id
  location  = "global"
  tags      = var.tags
  body = {
    properties = {
      groupShortName = "jvb-people"
      enabled        = true
      emailReceivers = [for number, email in var.emails : { name = "person-${number + 1}", emailAddress = email, useCommonAlertSchema = true }]
    }
  }
}

resource "azapi_resource" "told" {
  for_each  = local.by_severity
  type      = "Microsoft.Insights/scheduledQueryRules@2023-12-01"
  name      = "alert-${var.name}-${each.key}"
  parent_id = var.parent_id
  location  = var.location
  tags      = var.tags
  body = {
    kind = "LogAlert"
    properties = {
      displayName            = "jvb-autoscaler: ${join(", ", each.value.kinds)}"
      description            = "The app opened an alert. Cause and remedy: the section of ${local.runbook} that the dimension runbook names."
      severity               = each.value.severity
      enabled                = true
      scopes                 = [var.workspace_id]
      evaluationFrequency    = "PT5M"
      windowSize             = "PT5M"
      overrideQueryTimeRange = "PT30M"
      skipQueryValidation    = true  # the table begins with the app's first line
      autoMitigate           = false # the app says an alert once, when it opens
      criteria = {
        allOf = [{
          query           = "${local.told}| where ${each.value.severity == 3 ? "not(kind in (${join(", ", [for kind, of in local.kinds : "\"${kind}\"" if of < 3])}))" : "kind in (${join(", ", [for kind in each.value.kinds : "\"${kind}\""])})"}"
          timeAggregation = "Count"
          operator        = "GreaterThan"
          threshold       = 0
          dimensions      = [for column in ["kind", "subject", "runbook"] : { name = column, operator = "Include", values = ["*"] }]
          failingPeriods  = { numberOfEvaluationPeriods = 1, minFailingPeriodsToAlert = 1 }
        }]
      }
      actions = { actionGroups = [azapi_resource.people.id] }
    }
  }
}

resource "azapi_resource" "silent" {
  for_each  = var.scale_set_ids
  type      = "Microsoft.Insights/scheduledQueryRules@2023-12-01"
  name      = "alert-${var.name}-${each.key}-silent"
  parent_id = var.parent_id
  location  = var.location
  tags      = merge(var.tags, { shard = each.key })
  body = {
    kind = "LogAlert"
    properties = {
      displayName         = "jvb-autoscaler: ${each.key} is silent"
      description         = "No tick of this shard in three periods of five minutes. Cause and remedy: ${local.runbook}#silent"
      severity            = 1
      enabled             = true
      scopes              = [var.workspace_id]
      evaluationFrequency = "PT5M"
      windowSize          = "PT5M"
      skipQueryValidation = true
      autoMitigate        = true
      criteria = {
        allOf = [{
          query           = "AppTraces | where Message startswith \"tick ${each.key}: \""
          timeAggregation = "Count"
          operator        = "LessThan"
          threshold       = 1
          failingPeriods  = { numberOfEvaluationPeriods = 3, minFailingPeriodsToAlert = 3 }
        }]
      }
      actions = { actionGroups = [azapi_resource.people.id] }
    }
  }
}

resource "azapi_resource" "faults" {
  type      = "Microsoft.Insights/scheduledQueryRules@2023-12-01"
  name      = "alert-${var.name}-faults"
  parent_id = var.parent_id
  location  = var.location
  tags      = var.tags
  body = {
    kind = "LogAlert"
    properties = {
      displayName         = "jvb-autoscaler: errors in the log"
      description         = "A tick failed, the tables do not answer or the configuration is invalid, five times in ten minutes. Cause and remedy: ${local.runbook}#errors"
      severity            = 1
      enabled             = true
      scopes              = [var.workspace_id]
      evaluationFrequency = "PT5M"
      windowSize          = "PT10M"
      skipQueryValidation = true
      autoMitigate        = true
      criteria = {
        allOf = [{
          query           = "AppTraces | where SeverityLevel >= 3 | where Message startswith \"tick of \" or Message startswith \"tables unavailable\" or Message startswith \"configuration invalid\""
          timeAggregation = "Count"
          operator        = "GreaterThanOrEqual"
          threshold       = 5
          failingPeriods  = { numberOfEvaluationPeriods = 1, minFailingPeriodsToAlert = 1 }
        }]
      }
      actions = { actionGroups = [azapi_resource.people.id] }
    }
  }
}

# --- the app --------------------------------------------------------------------------------

# The function's key exists from the first publish on. It is read at each apply, goes into the action group, and is
# kept in no state and no plan.
ephemeral "azapi_resource_action" "alert_key" {
  count                  = var.connected ? 1 : 0
  type                   = "Microsoft.Web/sites/functions@2025-03-01"
  resource_id            = "${var.function_app_id}/functions/alert"
  action                 = "listkeys"
  method                 = "POST"
  response_export_values = ["default"]
}

resource "azapi_resource" "app" {
  type      = "Microsoft.Insights/actionGroups@2023-01-01"
  name      = "ag-${var.name}-app"
  parent_id = var.parent_id
  location  = "global"
  tags      = merge(var.tags, { connected = tostring(var.connected) })
  body = {
    properties = { groupShortName = "jvb-app", enabled = true }
  }
  # Without versions: sent with each write, since a write of an action group replaces it.
  sensitive_body = var.connected ? {
    properties = {
      azureFunctionReceivers = [{
        name                  = "alert"
        functionAppResourceId = var.function_app_id
        functionName          = "alert"
        httpTriggerUrl        = "${var.function_app_url}/api/alerts/monitor?code=${ephemeral.azapi_resource_action.alert_key[0].output.default}"
        useCommonAlertSchema  = true
      }]
    }
  } : null
}

locals {
  load_alerts = merge([for shard, id in var.scale_set_ids : {
    "${shard}-nic" = {
      shard = shard, scope = id, metric = "Network Out Total", aggregation = "Total"
      # Bytes of one machine in the five minutes of the window.
      threshold = var.nic_alert_mbps[shard] * 1000000 / 8 * 300
    }
    "${shard}-cpu" = { shard = shard, scope = id, metric = "Percentage CPU", aggregation = "Average", threshold = 80 }
  }]...)
}

resource "azapi_resource" "load" {
  for_each  = local.load_alerts
  type      = "Microsoft.Insights/metricAlerts@2018-03-01"
  name      = "alert-${var.name}-${each.key}"
  parent_id = var.parent_id
  location  = "global"
  tags      = merge(var.tags, { shard = each.value.shard })
  body = {
    properties = {
      description         = "A bridge of ${each.value.shard} is loaded: the app ticks now and not within the minute."
      severity            = 4
      enabled             = true
      scopes              = [each.value.scope]
      evaluationFrequency = "PT1M"
      windowSize          = "PT5M"
      autoMitigate        = true
      criteria = {
        "odata.type" = "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria"
        allOf = [{
          criterionType        = "StaticThresholdCriterion"
          name                 = each.value.metric
          metricNamespace      = "Microsoft.Compute/virtualMachineScaleSets"
          metricName           = each.value.metric
          timeAggregation      = each.value.aggregation
          operator             = "GreaterThan"
          threshold            = each.value.threshold
          dimensions           = [{ name = "VMName", operator = "Include", values = ["*"] }]
          skipMetricValidation = true
        }]
      }
      actions = [{ actionGroupId = azapi_resource.app.id }]
    }
  }
}

# --- the workbook ---------------------------------------------------------------------------

locals {
  panels = {
    "Ticks" = {
      chart = "timechart"
      query = "AppTraces | where Message startswith \"tick \" | parse Message with \"tick \" shard \": \" sentence | summarize ticks = count() by shard, bin(TimeGenerated, 15m)"
    }
    "What the ticks said" = {
      chart = "table"
      query = "AppTraces | where Message startswith \"tick \" | parse Message with \"tick \" shard \": \" sentence | where sentence !startswith \"nothing to do\" | project TimeGenerated, shard, sentence | order by TimeGenerated desc | take 200"
    }
    "Alerts" = {
      chart = "table"
      query = "AppTraces | where Message startswith \"alert \" | parse Message with \"alert \" subject \": \" kind \": \" text | extend runbook = strcat(\"${local.runbook}#\", kind) | project TimeGenerated, kind, subject, text, runbook | order by TimeGenerated desc | take 200"
    }
    "Errors" = {
      chart = "table"
      query = "AppTraces | where SeverityLevel >= 3 | project TimeGenerated, Message | order by TimeGenerated desc | take 100"
    }
  }
}

# The usage tables lie behind the app, so these panels ask the app, with the key that who looks types in.
locals {
  usage = {
    "Bridges wanted and accepting" = ["wanted", "accepting"]
    "Participants"                 = ["participants"]
    "Sent, Mbit/s"                 = ["out_mbps"]
  }
  usage_query = jsonencode({
    version = "CustomEndpoint/1.0"
    method  = "GET"
    url     = "${var.function_app_url}/api/usage"
    headers = [{ key = "x-functions-key", value = "{key}" }]
    urlParams = [
      { key = "from", value = "{period:startISO}" },
      { key = "to", value = "{period:endISO}" },
      { key = "step", value = "15" },
      { key = "format", value = "json" },
    ]
    transformers = [{ type = "jsonpath", settings = { tablePath = "$.rows" } }]
  })
}

resource "azapi_resource" "workbook" {
  type      = "Microsoft.Insights/workbooks@2023-06-01"
  name      = uuidv5("url", "${var.parent_id}|${var.name}|workbook")
  parent_id = var.parent_id
  location  = var.location
  tags      = var.tags
  body = {
    kind = "shared"
    properties = {
      displayName = "jvb-autoscaler ${var.name}"
      category    = "workbook"
      sourceId    = lower(var.workspace_id)
      serializedData = jsonencode({
        version = "Notebook/1.0"
        items = concat(
          [{
            type = 9
            name = "period"
            content = { version = "KqlParameterItem/1.0", style = "pills", parameters = [{ id = uuidv5("url", "${var.name}|period"), version = "KqlParameterItem/1.0", name = "period", type = 4, value = { durationMs = 86400000 }, typeSettings = { selectableValues = [for hours in [1, 4, 24, 168, 720] : { durationMs = hours * 3600000 }] } },
            { id = uuidv5("url", "${var.name}|key"), version = "KqlParameterItem/1.0", name = "key", label = "Key of usage", type = 1, isRequired = false, value = "" }] }
          }],
          [for title, columns in local.usage : {
            type = 3
            name = title
            content = {
              version       = "KqlItem/1.0"
              title         = title
              query         = local.usage_query
              queryType     = 10
              size          = 0
              visualization = "linechart"
              chartSettings = { xAxis = "at", yAxis = columns, group = "shard" }
            }
          }],
          [for title, panel in local.panels : {
            type = 3
            name = title
            content = {
              version                  = "KqlItem/1.0"
              title                    = title
              query                    = panel.query
              size                     = 0
              timeContextFromParameter = "period"
              queryType                = 0
              resourceType             = "microsoft.operationalinsights/workspaces"
              crossComponentResources  = [var.workspace_id]
              visualization            = panel.chart
            }
          }],
        )
      })
    }
  }
}

output "people_id" { value = azapi_resource.people.id }
output "workbook_id" { value = azapi_resource.workbook.id }
