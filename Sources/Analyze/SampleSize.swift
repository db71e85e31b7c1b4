import ArgumentParser

/// How many of many things are looked at, drawn at random: a number, or `all`.
enum SampleSize: ExpressibleByArgument, CustomStringConvertible {
  case all
  case some(Int)

  init?(argument: String) {
    if argument == "all" {
      self = .all
    } else if let count = Int(argument), count > 0 {
      self = .some(count)
    } else {
      return nil
    }
  }

  /// As it is typed.
  var description: String {
    switch self {
    case .all: "all"
    case .some(let count): "\(count)"
    }
  }

  /// nil where all are.
  var limit: Int? {
    if case .some(let count) = self { count } else { nil }
  }
}
