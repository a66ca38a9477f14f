# What a bridge is made of and told.

locals {
  image_scripts = ["sudo apt-get update"]
  image_proofs  = ["true"]
  custom_data   = { for name, shard in var.shards : name => "#cloud-config\n${yamlencode({ write_files = [] })}" }
}
