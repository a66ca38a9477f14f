# Two shards in two zones, each with a Prosody and Jicofo of its own.
resource_group_name = "rg-jvb-prod"
location            = "westeurope"
environment         = "prod"
log_retention_days  = 90
alert_emails        = ["jitsi-oncall@example.org"]
tags                = { cost-centre = "conferencing" }

# admin_ssh_public_key and operator_addresses are yours: TF_VAR_admin_ssh_public_key, TF_VAR_operator_addresses.

policy = { recycle_at = "03:30", recycle_until = "06:00", time_zone = "Europe/Berlin" }

shards = {
  a = {
    zone        = "1"
    vm_size     = "Standard_F8s_v2"
    max_bridges = 14
    surge       = 2
    signalling = {
      address     = "10.20.1.4"
      domain      = "auth.a.meet.example.org"
      muc         = "jvbbrewery@internal.auth.a.meet.example.org"
      secret_name = "xmpp-a"
    }
  }
  b = {
    zone        = "2"
    vm_size     = "Standard_F8s_v2"
    max_bridges = 14
    surge       = 2
    signalling = {
      address     = "10.20.1.5"
      domain      = "auth.b.meet.example.org"
      muc         = "jvbbrewery@internal.auth.b.meet.example.org"
      secret_name = "xmpp-b"
    }
  }
}
