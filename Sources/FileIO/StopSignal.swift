@preconcurrency import Glibc
import Synchronization

/// Lets long work end in good order when the user or the system asks for it.
///
/// The first SIGINT, SIGTERM or SIGUSR1 is noted; the second one of a kind has its usual effect.
public enum StopSignal {
  private static let received = Atomic<Int32>(0)

  /// The signal that has come, nil if none has.
  public static var current: Int32? {
    let signal = received.load(ordering: .relaxed)
    return signal == 0 ? nil : signal
  }

  public static func name(of signal: Int32) -> String {
    switch signal {
    case SIGINT: "SIGINT"
    case SIGTERM: "SIGTERM"
    case SIGUSR1: "SIGUSR1"
    default: "signal \(signal)"
    }
  }

  /// Begins to note signals, other than those that the caller ignores. Those that it blocked, as
  /// parents do that start programs from a worker thread, are let through. Call it on the main thread.
  public static func watch() {
    // The handler may not be the first to touch it.
    received.store(0, ordering: .relaxed)
    var watched = sigset_t()
    sigemptyset(&watched)
    for number in [SIGINT, SIGTERM, SIGUSR1] {
      var old = sigaction()
      sigaction(number, nil, &old)
      if unsafeBitCast(old.__sigaction_handler.sa_handler, to: Int.self) == 1 { continue }
      var action = sigaction()
      // Calls that a signal interrupts are taken up again.
      action.sa_flags = SA_RESTART | Int32(bitPattern: UInt32(SA_RESETHAND))
      action.__sigaction_handler.sa_handler = { StopSignal.received.store($0, ordering: .relaxed) }
      sigaction(number, &action, nil)
      sigaddset(&watched, number)
    }
    pthread_sigmask(SIG_UNBLOCK, &watched, nil)
  }
}
