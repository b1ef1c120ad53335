extension Setting {
  /// All keys, in the order of `Config/kdnd.yaml`.
  package static let all: [Setting] = [
    Setting(
      "tcp", list: ["127.0.0.1:9440"], "HOST:PORT",
      "TCP addresses to listen on; port 0 lets the kernel choose; an empty list for none."),
    Setting("unix", "", "path", "Unix socket to listen on; empty for none."),
    Setting(
      "unix_mode", "0660", "octal", "Who may connect to the Unix socket: its permission bits."),
    Setting(
      "shm", "auto", "auto|off",
      "Offer shared memory on the Unix socket; auto: where the kernel can seal memory."),
    Setting(
      "shm_uids", list: [], "uid",
      "Users who may share memory; empty: whoever unix_mode admits and the kernel can name.",
      .reloadable),
    Setting(
      "shm_window", "64MiB", "size",
      "Largest window into which a client of shared memory writes what it stores; part of ram.",
      .reloadable),
    Setting(
      "rdma", list: [], "HOST:PORT",
      "Addresses of RDMA devices to listen on; without such a device the daemon says so once."),
    Setting(
      "rdma_trusted", "no", "yes|no",
      "Let clients say their token over RDMA, which encrypts nothing; no: they bring a ticket.",
      .reloadable),
    Setting(
      "tls", list: [], "HOST:PORT",
      "TCP addresses to listen on with TLS 1.3; port 0 lets the kernel choose."),
    Setting(
      "tls_certificate", "", "path", "PEM file of the server's certificate and its chain.",
      .reloadable),
    Setting("tls_key", "", "path", "PEM file of the certificate's private key.", .reloadable),
    Setting(
      "tls_client_ca", "", "path",
      "PEM file of the authorities whose client certificates are demanded; empty: none is.",
      .reloadable),
    Setting(
      "tls_clients", list: [], "NAME=NAMESPACE",
      "Names in client certificates that open a namespace without a token: DNS, URI or CN=TEXT.",
      .reloadable),
    Setting(
      "resp", list: [], "HOST:PORT",
      "TCP addresses to listen on for clients of Redis; port 0 lets the kernel choose."),
    Setting(
      "resp_namespace", "", "NAMESPACE",
      "Namespace of clients of Redis that do not log in, only if every resp listener is loopback."),
    Setting(
      "resp_exists_lease_ms", "10000", "milliseconds",
      "What EXISTS of Redis found stays this long for whoever loads it then; 0: not at all.",
      .reloadable),
    Setting(
      "resp_lease_share", "25", "percent",
      "Most of the arena, and of a namespace's ram limit, that EXISTS keeps from eviction.",
      .reloadable),
    Setting(
      "resp_value_bytes_max", "512MiB", "size",
      "Largest value of a SET; max_object limits it too.", .reloadable),
    Setting(
      "resp_padded_misses", "auto", "auto|on|off",
      "Misses as long as the awaited header: for LMCache's native client, all plain ones, or none.",
      .reloadable),
    Setting(
      "admin", list: ["127.0.0.1:9441"], "HOST:PORT",
      "Addresses of the HTTP endpoint for administrators and monitoring; an empty list for none."),
    Setting(
      "admin_tokens", list: [], "NAME:SHA256",
      "Administrators and the SHA-256 of a token of each; without one, nobody may give orders.",
      .reloadable, .secret),
    Setting(
      "admin_hosts", list: [], "HOST",
      "Host names by which the HTTP endpoint may be called, beside its own addresses.",
      .reloadable),
    Setting(
      "max_connections", "4096", "count",
      "Connections served at once; one more is told too_many_connections.", .reloadable),
    Setting("loops", "0", "count", "Event loops; 0 takes one per core, at most 8."),
    Setting(
      "ram", "1GiB", "size",
      "All memory of the cache: arena, index and connection buffers together never exceed it."),
    Setting("slab", "64MiB", "size", "Size of one slab of the arena; a slab serves one namespace."),
    Setting("huge_pages", "auto", "auto|off", "Back slabs with huge pages when there are any."),
    Setting("lock_memory", "auto", "auto|off", "Lock slabs into RAM when the limit allows it."),
    Setting("numa", "auto", "auto|off", "Spread slabs over NUMA nodes when there are several."),
    Setting(
      "prefault", "on", "on|off", "Touch all memory at start, so that no store waits for it."),
    Setting(
      "disk", list: [], "PATH:SIZE",
      "Directories of the disk tier, one per device, with a cap on all their files; none: RAM only."
    ),
    Setting(
      "disk_segment", "256MiB", "size",
      "Size of one segment file; larger objects stay in RAM only."),
    Setting(
      "disk_engine", "auto", "auto|io_uring|threads",
      "How the disk tier reads and writes; auto takes io_uring where the kernel lets it."),
    Setting(
      "disk_depth", "8", "count", "Reads, and as many writes, in flight in each directory."),
    Setting(
      "disk_admission", "all", "all|second_hit|wanted",
      "What is written to disk unasked: all, what is used twice, or only what is pinned.",
      .reloadable),
    Setting(
      "disk_write_budget", "0", "size", "Most bytes written unasked in a day; 0 for no limit.",
      .reloadable),
    Setting(
      "disk_write_delay_ms", "200", "milliseconds",
      "What is written to disk unasked survives a power loss this soon, if the device keeps up."),
    Setting(
      "disk_write_behind", "256MiB", "size",
      "Most bytes of objects that wait for the device or are being written."),
    Setting(
      "disk_staging", "64MiB", "size", "Room for reads from disk when RAM is full; part of ram."),
    Setting(
      "codec_ram", "off", "off|exact|high|balanced|small|archive",
      "What KV in RAM is encoded to once it has not been used for codec_age; all but exact lose.",
      .reloadable),
    Setting(
      "codec_disk", "off", "off|exact|high|balanced|small|archive",
      "What KV is encoded to on its way to disk; all but exact lose a little.", .reloadable),
    Setting(
      "codec_opaque", "off", "off|zstd|lz4",
      "What objects without a layout are compressed with, on disk and unused in RAM.",
      .reloadable),
    Setting(
      "codec_age", "60", "seconds",
      "For so long nobody has used what is encoded in RAM; of no matter on the way to disk.",
      .reloadable),
    Setting(
      "codec_cpu", "50", "percent",
      "Most processor time that encoding takes, of one core; it never goes before serving."),
    Setting(
      "blend_workers", "2", "count", "Threads that put the KV of several documents together."),
    Setting(
      "blend_ttl", "600", "seconds",
      "For so long KV that was put together stays, if there is room."),
    Setting(
      "namespaces", list: [], "NAME:SHA256",
      "Namespaces and the SHA-256 of a token that opens them, in hexadecimal; a name may recur.",
      .reloadable, .secret),
    Setting(
      "namespaces_file", "", "path",
      "File of further namespaces, which the daemon itself keeps when administrators change them.",
      .reloadable),
    Setting(
      "namespace_limits", list: [], "NAME LIMIT=VALUE…",
      "Hard limits of a namespace: ram, disk, pinned, connections, requests and bytes a second.",
      .reloadable),
    Setting(
      "namespace_codecs", list: [], "NAME TIER=CODEC…",
      "Codecs of a namespace in the place of codec_ram, _disk and _opaque: ram, disk, opaque.",
      .reloadable),
    Setting(
      "development_namespace", "auto", "auto|off",
      "Open namespace 'default' without a token, only if every listener is loopback."),
    Setting("max_object", "512MiB", "size", "Largest object.", .reloadable),
    Setting("max_body", "1MiB", "size", "Longest body of a frame.", .reloadable),
    Setting("max_keys", "4096", "count", "Most keys, hashes or items in one request.", .reloadable),
    Setting(
      "max_requests_in_flight", "256", "count", "Requests not yet answered on one connection.",
      .reloadable),
    Setting(
      "credit", "256MiB", "size", "Open PUT bytes, and GET bytes queued, on one connection.",
      .reloadable),
    Setting(
      "default_deadline_ms", "30000", "milliseconds", "Deadline of a request that names none.",
      .reloadable),
    Setting(
      "max_deadline_ms", "600000", "milliseconds", "Longest deadline of a request.", .reloadable),
    Setting(
      "handshake_timeout_ms", "5000", "milliseconds", "HELLO must be complete this soon.",
      .reloadable),
    Setting(
      "idle_timeout_ms", "600000", "milliseconds", "A connection without a request is closed.",
      .reloadable),
    Setting(
      "write_stall_ms", "30000", "milliseconds", "A client that takes no byte is closed.",
      .reloadable),
    Setting(
      "reservation_timeout_ms", "30000", "milliseconds",
      "A PUT that receives nothing is given up.", .reloadable),
    Setting(
      "default_lease_ms", "10000", "milliseconds", "Lease of a MATCH that names none.",
      .reloadable),
    Setting("max_lease_ms", "60000", "milliseconds", "Longest lease.", .reloadable),
    Setting("max_pin_ms", "2592000000", "milliseconds", "Longest pin.", .reloadable),
    Setting(
      "drain_timeout_ms", "30000", "milliseconds",
      "After SIGTERM, answers in flight may take this long.", .reloadable),
    Setting(
      "slow_request_ms", "100", "milliseconds",
      "A request that takes longer stands in the log of slow requests.", .reloadable),
    Setting("log_format", "logfmt", "logfmt|json", "Form of a log line."),
    Setting(
      "log_level", "info", "level", "trace, debug, info, notice, warning, error, critical.",
      .reloadable),
    Setting(
      "log_journal", "auto", "auto|on|off",
      "Put the journal's priority in front of each line; auto when standard error is the journal."),
  ]
}
