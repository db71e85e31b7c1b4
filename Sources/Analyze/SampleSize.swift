import ArgumentParser

/// How many of many things are looked at, drawn at random: a number, or `all`.
enum SampleSize: ExpressibleByArgument, CustomStringConvertible {
  case all
  case some(Int)
  /// What is neither, as it was typed: an option that may stand without a value would take its default for
  /// a value that cannot be read.
  case unreadable(String)

  init(argument: String) {
    if argument == "all" {
      self = .all
    } else if let count = Int(argument), count > 0 {
      self = .some(count)
    } else {
      self = .unreadable(argument)
    }
  }

  /// - Throws: `ValidationError`.
  func check(option: String) throws {
    if case .unreadable(let text) = self {
      throw ValidationError("\(option) takes a number from 1 on or all, not '\(text)'.")
    }
  }

  /// As it is typed.
  var description: String {
    switch self {
    case .all: "all"
    case .some(let count): "\(count)"
    case .unreadable(let text): text
    }
  }

  /// nil where all are.
  var limit: Int? {
    if case .some(let count) = self { count } else { nil }
  }
}
