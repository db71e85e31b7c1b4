// swift-tools-version: 6.2
import PackageDescription

let swiftSettings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

/// A Swift module of the package. Every one is compiled with the same settings.
func module(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: swiftSettings)
}

func tests(
  _ name: String, _ dependencies: [Target.Dependency], resources: [Resource]? = nil,
  more: [SwiftSetting] = []
) -> Target {
  .testTarget(
    name: name, dependencies: dependencies, resources: resources,
    swiftSettings: swiftSettings + more)
}

let argumentParser = Target.Dependency.product(
  name: "ArgumentParser", package: "swift-argument-parser")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")

let package = Package(
  name: "patchbay",
  products: [
    .library(name: "CacheFormat", targets: ["CacheFormat"]),
    .library(name: "Model", targets: ["Model"]),
    .library(name: "Patching", targets: ["Patching"]),
    .library(name: "Tasks", targets: ["Tasks"]),
    .library(name: "Reading", targets: ["Reading"]),
    .library(name: "Hub", targets: ["Hub"]),
    .executable(name: "capture", targets: ["Capture"]),
    .executable(name: "analyze", targets: ["Analyze"]),
    .executable(name: "cachedump", targets: ["CacheDump"]),
    .executable(name: "patchbay-bench", targets: ["Benchmark"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
  ],
  targets: [
    .systemLibrary(
      name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])]),
    .systemLibrary(name: "CLZ4", pkgConfig: "liblz4", providers: [.apt(["liblz4-dev"])]),
    .systemLibrary(
      name: "CCurl", pkgConfig: "libcurl", providers: [.apt(["libcurl4-openssl-dev"])]),
    // Unoptimised kernels would make debug builds some fifty times slower. A product's inner loop that
    // begins anywhere loses up to a quarter of its speed on Zen 3.
    .target(name: "CKernels", cSettings: [.unsafeFlags(["-O3", "-falign-loops=64"])]),

    module("FileIO", []),
    module("Parallel", []),
    module("CacheFormat", ["FileIO", "Parallel", "CKernels", "CLZ4", crypto]),
    module("Model", ["FileIO", "Parallel", "CKernels", "COpenBLAS", crypto]),
    module("Patching", ["Model", "CacheFormat", "FileIO", "Parallel", crypto]),
    module("Tasks", ["Patching", "Model", "FileIO"]),
    module("Reading", ["Patching", "Model", "CacheFormat", "FileIO", "Parallel", "COpenBLAS"]),
    module("Terminal", ["FileIO", argumentParser]),
    module("Hub", ["FileIO", "Terminal", "CCurl", crypto]),

    .executableTarget(
      name: "Capture",
      dependencies: ["Hub", "Model", "CacheFormat", "FileIO", "Terminal", argumentParser],
      swiftSettings: swiftSettings),
    .executableTarget(
      name: "Analyze",
      dependencies: [
        "Tasks", "Reading", "Patching", "Hub", "Model", "CacheFormat", "FileIO", "Parallel",
        "Terminal",
        argumentParser,
      ],
      swiftSettings: swiftSettings),
    .executableTarget(
      name: "CacheDump",
      dependencies: ["CacheFormat", "FileIO", "Terminal", argumentParser],
      swiftSettings: swiftSettings),
    .executableTarget(
      name: "Benchmark",
      dependencies: [
        "Hub", "Model", "CacheFormat", "CKernels", "CLZ4", "COpenBLAS", "FileIO", "Terminal",
        argumentParser,
      ],
      swiftSettings: swiftSettings),

    .target(
      name: "TestSupport", dependencies: ["Model", "CacheFormat"], path: "Tests/TestSupport",
      exclude: ["hub_server.py"], swiftSettings: swiftSettings),
    tests("KernelTests", ["CKernels", "TestSupport"]),
    tests("FileIOTests", ["FileIO"]),
    tests("ParallelTests", ["Parallel", "TestSupport"]),
    tests("TerminalTests", ["Terminal"]),
    tests("HubTests", ["Hub", "FileIO", "TestSupport"]),
    tests(
      "CacheFormatTests", ["CacheFormat", "FileIO", "TestSupport"],
      resources: [.copy("Golden")]),
    tests(
      "ModelTests", ["Model", "FileIO", "Parallel", "TestSupport"],
      resources: [.copy("Fixtures")]),
    tests(
      "PatchingTests", ["Patching", "Model", "CacheFormat", "TestSupport"],
      resources: [.copy("Fixtures")]),
    tests(
      "TasksTests", ["Tasks", "Patching", "Model", "FileIO", "TestSupport"],
      resources: [.copy("Golden")]),
    tests(
      "ReadingTests", ["Reading", "Patching", "Model", "CacheFormat", "TestSupport"],
      resources: [.copy("Fixtures")]),
    tests(
      "CommandTests",
      [
        "Capture", "Analyze", "CacheDump", "Model", "CacheFormat", "FileIO", "Terminal",
        "TestSupport",
      ],
      // They wait for the commands, and would take four times as long to compile.
      more: [.unsafeFlags(["-Onone"])]),
  ]
)
