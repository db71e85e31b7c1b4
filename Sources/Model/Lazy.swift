import Synchronization

/// A value that is made when it is first needed: one thread makes it while others wait.
final class Lazy<Value: Sendable>: Sendable {
  private enum State {
    case made(Value)
    case maker(@Sendable () -> Value)
  }

  private let state: Mutex<State>

  init(_ value: Value) { state = Mutex(.made(value)) }

  init(by make: @escaping @Sendable () -> Value) { state = Mutex(.maker(make)) }

  var value: Value {
    state.withLock { state in
      switch state {
      case .made(let value): return value
      case .maker(let make):
        let value = make()
        state = .made(value)
        return value
      }
    }
  }
}
