import Testing

/// Tests that need a device for RDMA, one after the other: they count what the kernel holds for it.
@Suite(.serialized) enum OverFabric {}
