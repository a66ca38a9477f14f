# One small shard that may vanish: Spot, no private endpoints, a date on which it is to be thrown away.
resource_group_name = "rg-jvb-dev"
location            = "westeurope"
environment         = "dev"
private_storage     = false
boot_reports        = false
expires_on          = "2027-01-31"

# admin_ssh_public_key and operator_addresses are yours: TF_VAR_admin_ssh_public_key, TF_VAR_operator_addresses.

shards = {
  a = {
    zone        = "1"
    vm_size     = "Standard_F2s_v2"
    max_bridges = 3
    spot        = true
    signalling = {
      address     = "10.20.1.4"
      domain      = "auth.meet.example.org"
      muc         = "jvbbrewery@internal.auth.meet.example.org"
      secret_name = "xmpp-a"
    }
  }
}
