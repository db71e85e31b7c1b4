// swift-tools-version: 6.2
import PackageDescription

// Built with the sanitizers fuzzer and address, and so apart from the programs. See `make fuzz`.
let package = Package(
  name: "fuzz",
  dependencies: [.package(name: "patchbay", path: "..")],
  targets: [
    .executableTarget(
      name: "FuzzReader", dependencies: [.product(name: "CacheFormat", package: "patchbay")],
      swiftSettings: [.swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny")])
  ]
)
