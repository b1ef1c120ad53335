/// The report of `Samples.daemon` as it is written: names of fields that others rely on.
enum Golden {
  static let report = """
    {
      "blends": {
        "assemble_seconds_total": 2.5,
        "assembled_bytes_total": 203,
        "assembled_tokens_total": 202,
        "assembled_total": 201,
        "busy_total": 210,
        "cancelled_total": 212,
        "edited_kept_objects_total": 216,
        "edited_objects_total": 215,
        "forbidden_total": 206,
        "hits_total": 204,
        "joined_total": 205,
        "kept": 214,
        "materialised_objects_total": 217,
        "missing_total": 209,
        "under_way": 213,
        "unknown_total": 207,
        "unsuited_total": 208,
        "without_room_total": 211
      },
      "codecs": [
        {
          "bytes": 15,
          "name": "raw",
          "objects": 14,
          "raw_bytes": 16
        }
      ],
      "coding": {
        "declined_total": 167,
        "decoded_bytes_total": 175,
        "decoded_total": 174,
        "decodes_failed_total": 177,
        "decodes_joined_total": 176,
        "decoding": 180,
        "encode_seconds_total": 1.5,
        "encoded_bytes_total": 166,
        "encoded_raw_bytes_total": 165,
        "encoded_total": 164,
        "encoding": 179,
        "failed_total": 168,
        "overflows_total": 170,
        "profile_bytes": 186,
        "profiles_in_use": 184,
        "profiles_loaded": 185,
        "profiles_lost_total": 187,
        "queued": 178,
        "recoded_total": 181,
        "recodes_declined_total": 182,
        "recodings": 183,
        "replaced_total": 171,
        "rewrites_refused_total": 173,
        "rewritten_total": 172,
        "without_room_total": 169
      },
      "connections": {
        "accepted_total": 94,
        "errors_total": 100,
        "framing_faults_total": 97,
        "open": 93,
        "open_transfers": 103,
        "received_bytes_total": 101,
        "refused_total": 95,
        "requests_total": 99,
        "sent_bytes_total": 102,
        "timed_out_total": 96,
        "unauthorised_total": 98,
        "waiting_gets": 104
      },
      "delivery": {
        "adapted_total": 158,
        "codecs": [
          {
            "items_total": 155,
            "name": "small",
            "raw_bytes_total": 157,
            "sent_bytes_total": 156
          }
        ],
        "inexact_total": 160,
        "recompute_total": 159
      },
      "disk": {
        "bytes": 58,
        "corrupt_total": 69,
        "directories": [
          {
            "bytes": 53,
            "capacity_bytes": 49,
            "objects": 52,
            "path": "/var/lib/kdn",
            "read_errors_total": 54,
            "segments": 51,
            "state": "serving",
            "sync_errors_total": 56,
            "used_bytes": 50,
            "write_errors_total": 55
          }
        ],
        "dropped_total": 68,
        "engine": "threads",
        "hits_total": 59,
        "objects": 57,
        "read_bytes_total": 61,
        "reads_total": 60,
        "ready": true,
        "reclaimed_segments_total": 67,
        "recovery": {
          "dropped": 71,
          "milliseconds": 72,
          "records": 70
        },
        "reinserted_bytes_total": 66,
        "reinserted_total": 65,
        "synced_total": 64,
        "write_behind": {
          "refused_total": 75,
          "unwritten_evictions_total": 76,
          "waiting": 73,
          "waiting_bytes": 74
        },
        "writes_total": 62,
        "written_bytes_total": 63
      },
      "disk_codecs": [
        {
          "bytes": 162,
          "name": "small",
          "objects": 161,
          "raw_bytes": 163
        }
      ],
      "documents": {
        "documents": 243,
        "edits": 244
      },
      "events": {
        "newest": 21,
        "total": 20
      },
      "links": [
        {
          "accepted_total": 78,
          "copied_bytes_total": 140,
          "endpoints": [
            "127.0.0.1:9440"
          ],
          "handshake_failures_total": 81,
          "hashed_bytes_total": 141,
          "kind": "tls",
          "open": 77,
          "received_bytes_total": 79,
          "sent_bytes_total": 80
        }
      ],
      "memory": {
        "allocated_bytes": 9,
        "capacity_bytes": 8,
        "extents": 10,
        "free_slabs": 11,
        "largest_free_extent_bytes": 12,
        "placement": "plain",
        "slab_bytes": 13
      },
      "namespaces": [
        {
          "connections": 117,
          "disk_bytes": 115,
          "disk_hits_total": 123,
          "disk_objects": 114,
          "errors_total": {
            "not_found": 119
          },
          "evicted_bytes_total": 128,
          "evictions_total": 127,
          "generation": 111,
          "limits": {
            "bytes_per_second": 110,
            "connections_max": 108,
            "disk_bytes_max": 106,
            "pinned_bytes_max": 107,
            "ram_bytes_max": 105,
            "requests_per_second": 109
          },
          "misses_total": {
            "wrong_layout": 124
          },
          "name": "team-a",
          "pinned_bytes": 116,
          "quota_refusals_total": 129,
          "ram_bytes": 113,
          "ram_hits_total": 122,
          "ram_objects": 112,
          "rate_refusals_total": 130,
          "received_bytes_total": 120,
          "requests_total": 118,
          "sent_bytes_total": 121,
          "stored_bytes_total": 126,
          "stores_total": 125
        }
      ],
      "operations": [
        {
          "errors_total": {
            "over_quota": 83
          },
          "latency": {
            "bucket_counts": [
              91,
              92
            ],
            "count": 84,
            "max_microseconds": 90,
            "p50_microseconds": 86,
            "p90_microseconds": 87,
            "p999_microseconds": 89,
            "p99_microseconds": 88,
            "sum_microseconds": 85
          },
          "name": "GET",
          "requests_total": 82
        }
      ],
      "pool": {
        "buffer_bytes": 28,
        "bytes": 23,
        "charged_bytes": 26,
        "conflicts_total": 39,
        "dead_objects": 24,
        "evicted_bytes_total": 37,
        "evictions_total": 36,
        "expired_total": 40,
        "hits_total": 33,
        "index_bytes": 27,
        "leases": 30,
        "memory_bytes_max": 25,
        "misses_total": {
          "never_stored": 34,
          "over_credit": 35
        },
        "objects": 22,
        "pins": 31,
        "purged_total": 41,
        "refusals_total": 42,
        "reservations": 29,
        "stores_total": 38,
        "waiters": 32
      },
      "process": {
        "cpu_seconds": 2.5,
        "open_files": 5,
        "open_files_max": 6,
        "pid": 1,
        "resident_bytes": 3,
        "resident_bytes_max": 4,
        "threads": 7
      },
      "reload": {
        "failed_total": 19,
        "last_fault": "ram: too small",
        "last_succeeded": false,
        "last_unix_milliseconds": 17,
        "succeeded_total": 18
      },
      "schema": 1,
      "shared_memory": {
        "connections": [
          {
            "connection": 149,
            "leased_bytes": 153,
            "leases": 152,
            "namespace": "docs",
            "pid": 150,
            "uid": 151,
            "window_bytes": 154
          }
        ],
        "leased_bytes": 143,
        "leases": 142,
        "offered": true,
        "refused_total": 148,
        "stranded_bytes": 147,
        "window_bytes": 145,
        "window_bytes_max": 146,
        "windows": 144
      },
      "state": "recovering",
      "tiers": [
        {
          "bytes": 46,
          "capacity_bytes": 43,
          "evictions_total": 48,
          "hits_total": 47,
          "kind": "disk",
          "objects": 45,
          "place": "/var/lib/kdn",
          "state": "serving",
          "used_bytes": 44
        }
      ],
      "unix_milliseconds": 1800000000000,
      "uptime_seconds": 12.5,
      "version": "1.2.3",
      "work": {
        "bytes": 204,
        "cancelled_total": 208,
        "done_total": 206,
        "expired_total": 209,
        "failed_total": 207,
        "given_back_total": 210,
        "lost_total": 211,
        "queued": 201,
        "running": 202,
        "submitted_total": 205,
        "waiting_workers": 203
      }
    }
    """
}
