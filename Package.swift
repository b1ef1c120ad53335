// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("ExistentialAny"),
]
let tests: [SwiftSetting] = [.swiftLanguageMode(.v6), .treatAllWarnings(as: .error)]

let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let log = Target.Dependency.product(name: "Logging", package: "swift-log")
let arguments = Target.Dependency.product(
  name: "ArgumentParser", package: "swift-argument-parser")

let package = Package(
  name: "KDN",
  products: [
    .executable(name: "kdnd", targets: ["kdnd"]),
    .executable(name: "kdn", targets: ["kdn"]),
    .library(name: "KDNLibrary", type: .dynamic, targets: ["KDNLibrary"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0", traits: []),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
  ],
  targets: [
    .systemLibrary(
      name: "CNuma", path: "Sources/CPlatform/CNuma", providers: [.apt(["libnuma-dev"])]),
    .systemLibrary(
      name: "CXXHash", path: "Sources/CPlatform/CXXHash", providers: [.apt(["libxxhash-dev"])]),
    .systemLibrary(
      name: "CUring", path: "Sources/CPlatform/CUring", providers: [.apt(["liburing-dev"])]),
    .systemLibrary(
      name: "COpenSSL", path: "Sources/CPlatform/COpenSSL", pkgConfig: "libssl",
      providers: [.apt(["libssl-dev"])]),
    .systemLibrary(
      name: "CIBVerbs", path: "Sources/CPlatform/CIBVerbs", pkgConfig: "libibverbs",
      providers: [.apt(["libibverbs-dev"])]),
    .systemLibrary(
      name: "CRDMACM", path: "Sources/CPlatform/CRDMACM", pkgConfig: "librdmacm",
      providers: [.apt(["librdmacm-dev"])]),
    .systemLibrary(name: "CKDN", path: "Sources/KDNLibrary/include"),
    .systemLibrary(
      name: "CZstd", path: "Sources/CPlatform/CZstd", providers: [.apt(["libzstd-dev"])]),
    .systemLibrary(
      name: "CLZ4", path: "Sources/CPlatform/CLZ4", providers: [.apt(["liblz4-dev"])]),
    .target(
      name: "CPlatform", path: "Sources/CPlatform/CPlatform",
      cSettings: [.define("_GNU_SOURCE")]),

    .target(name: "KDNCore", dependencies: [crypto, "CXXHash"], swiftSettings: strict),
    .target(name: "KDNControl", dependencies: ["KDNCore"], swiftSettings: strict),
    .target(
      name: "KDNMemory", dependencies: ["KDNCore", "CPlatform", "CNuma"],
      swiftSettings: strict),
    .target(
      name: "KDNTier",
      dependencies: [
        "KDNCore", "KDNMemory", "CPlatform", "CUring",
        .product(name: "DequeModule", package: "swift-collections"),
      ],
      swiftSettings: strict),
    .target(name: "CKernels"),
    .target(
      name: "KDNCodec", dependencies: ["KDNCore", "CKernels", "CZstd", "CLZ4", crypto],
      swiftSettings: strict),
    .target(
      name: "KDNProfile", dependencies: ["KDNCore", "KDNCodec", "CPlatform"],
      swiftSettings: strict),
    .target(name: "KDNBlend", dependencies: ["KDNCore"], swiftSettings: strict),
    .target(name: "KDNWire", dependencies: ["KDNCore"], swiftSettings: strict),
    .target(
      name: "KDNPool",
      dependencies: [
        "KDNCore", "KDNMemory", "KDNTier",
        .product(name: "HeapModule", package: "swift-collections"),
      ],
      swiftSettings: strict),
    .target(
      name: "KDNTransport",
      dependencies: [
        "KDNCore", "KDNMemory", "CPlatform", "COpenSSL", "CIBVerbs", "CRDMACM",
        .product(name: "DequeModule", package: "swift-collections"),
      ],
      swiftSettings: strict),
    .target(
      name: "KDNAdmin",
      dependencies: [
        "KDNCore", "KDNControl", crypto, log,
        .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOHTTP1", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
      ],
      resources: [.embedInCode("Resources")],
      swiftSettings: strict),
    .target(
      name: "KDNServer",
      dependencies: [
        "KDNCore", "KDNControl", "KDNMemory", "KDNTier", "KDNCodec", "KDNBlend", "KDNWire",
        "KDNPool", "KDNTransport", crypto, log,
        .product(name: "Histogram", package: "hdrhistogram-swift"),
        .product(name: "Configuration", package: "swift-configuration"),
        .product(name: "Yams", package: "Yams"),
      ],
      exclude: ["KDN.docc"], swiftSettings: strict),
    .target(
      name: "KDNClient",
      dependencies: ["KDNCore", "KDNMemory", "KDNWire", "KDNTransport", "CPlatform"],
      swiftSettings: strict),
    .target(
      name: "KDNLibrary",
      dependencies: [
        "KDNCore", "KDNMemory", "KDNWire", "KDNTransport", "KDNClient", "CPlatform", "CKDN",
      ],
      exclude: ["include", "libkdn.map"], swiftSettings: strict),
    .executableTarget(
      name: "kdnd",
      dependencies: [
        "KDNCore", "KDNControl", "KDNServer", "KDNAdmin", "KDNTransport", arguments, log,
      ],
      swiftSettings: strict),
    .executableTarget(
      name: "kdn",
      dependencies: [
        "KDNCore", "KDNControl", "KDNClient", "KDNWire", "KDNMemory", "KDNTier", "KDNTransport",
        "KDNCodec", "KDNProfile", "CPlatform", arguments, crypto,
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "NIOHTTP1", package: "swift-nio"),
        .product(name: "Histogram", package: "hdrhistogram-swift"),
      ],
      swiftSettings: strict),

    .target(name: "TestPrograms", path: "Tests/TestPrograms", swiftSettings: tests),
    .testTarget(name: "KDNCoreTests", dependencies: ["KDNCore"], swiftSettings: tests),
    .testTarget(
      name: "CommandLineTests", dependencies: ["kdn", "KDNControl", "KDNCore", crypto],
      swiftSettings: tests),
    .testTarget(
      name: "KDNControlTests", dependencies: ["KDNControl", "KDNCore"], swiftSettings: tests),
    .testTarget(
      name: "KDNAdminTests", dependencies: ["KDNAdmin", "KDNControl", "KDNCore", log],
      swiftSettings: tests),
    .testTarget(
      name: "KDNMemoryTests", dependencies: ["KDNMemory", "KDNCore"], swiftSettings: tests),
    .testTarget(name: "KDNWireTests", dependencies: ["KDNWire", "KDNCore"], swiftSettings: tests),
    .testTarget(
      name: "KDNCodecTests", dependencies: ["KDNCodec", "KDNCore"], swiftSettings: tests),
    .testTarget(
      name: "KDNBlendTests", dependencies: ["KDNBlend", "KDNCore"], swiftSettings: tests),
    .testTarget(
      name: "KDNProfileTests", dependencies: ["KDNProfile", "KDNCodec", "KDNCore"],
      swiftSettings: tests),
    .testTarget(
      name: "KDNTierTests", dependencies: ["KDNTier", "KDNMemory", "KDNCore"],
      swiftSettings: tests),
    .testTarget(
      name: "KDNPoolTests", dependencies: ["KDNPool", "KDNTier", "KDNMemory", "KDNCore"],
      swiftSettings: tests),
    .testTarget(
      name: "KDNTransportTests",
      dependencies: ["KDNTransport", "KDNMemory", "KDNCore", "TestPrograms"],
      swiftSettings: tests),
    .testTarget(
      name: "KDNServerTests",
      dependencies: [
        "KDNServer", "KDNControl", "KDNClient", "KDNCodec", "KDNPool", "KDNTier", "KDNTransport",
        "KDNWire", "KDNMemory", "KDNCore", log,
      ],
      swiftSettings: tests),
    .testTarget(
      name: "KDNClientTests",
      dependencies: [
        "KDNClient", "KDNWire", "KDNTransport", "KDNMemory", "KDNServer", "KDNCore", "CPlatform",
        "TestPrograms", log,
      ],
      swiftSettings: tests),
    .testTarget(
      name: "KDNLibraryTests",
      dependencies: [
        "KDNLibrary", "KDNServer", "KDNClient", "KDNTransport", "KDNWire", "KDNCore", "CKDN", log,
      ],
      swiftSettings: tests),
    .testTarget(
      name: "RDMATests",
      dependencies: [
        "KDNServer", "KDNClient", "KDNPool", "KDNTransport", "KDNMemory", "KDNWire", "KDNCore",
        "TestPrograms", log,
      ],
      swiftSettings: tests),
    .testTarget(
      name: "Simulation", dependencies: ["KDNPool", "KDNTier", "KDNMemory", "KDNCore"],
      swiftSettings: tests),
  ]
)

// Builds with a sanitizer take only what they run, named in KDN_TESTS, and what that stands on.
if let wanted = Context.environment["KDN_TESTS"] {
  var kept: Set<String> = []
  var open = wanted.split(separator: ",").map(String.init)
  while let name = open.popLast() {
    guard kept.insert(name).inserted else { continue }
    for dependency in package.targets.first(where: { $0.name == name })?.dependencies ?? [] {
      if case .byNameItem(let name, _) = dependency { open.append(name) }
    }
  }
  package.targets.removeAll { !kept.contains($0.name) }
  package.products = []
}
