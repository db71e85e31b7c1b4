import Foundation

#if canImport(FoundationXML)
  import FoundationXML
#endif

/// An element of an XML text.
final class Element {
  let name: String
  private let attributes: [String: String]
  private var children: [Element] = []
  /// Its text and that of all elements in it.
  private(set) var text = ""

  private init(_ name: String, _ attributes: [String: String]) {
    self.name = name
    self.attributes = attributes
  }

  subscript(_ attribute: String) -> String? { attributes[attribute] }

  var classes: [String] {
    (self["class"] ?? "").split(separator: " ").map(String.init)
  }

  /// The elements of a name inside, in document order.
  func all(_ name: String) -> [Element] {
    children.flatMap { ($0.name == name ? [$0] : []) + $0.all(name) }
  }

  /// - Throws: if the text is not well-formed.
  convenience init(xml: String) throws {
    let builder = Builder()
    let parser = XMLParser(data: Data(xml.utf8))
    parser.delegate = builder
    guard parser.parse(), let root = builder.root else {
      throw HarnessError(
        description: "line \(parser.lineNumber): \(String(describing: parser.parserError))")
    }
    self.init(root.name, root.attributes)
    children = root.children
    text = root.text
  }

  private final class Builder: NSObject, XMLParserDelegate {
    var root: Element?
    private var open: [Element] = []

    func parser(
      _ parser: XMLParser, didStartElement name: String, namespaceURI: String?,
      qualifiedName: String?, attributes: [String: String]
    ) {
      let element = Element(name, attributes)
      open.last?.children.append(element)
      if root == nil { root = element }
      open.append(element)
    }

    func parser(_ parser: XMLParser, foundCharacters text: String) {
      for element in open { element.text += text }
    }

    func parser(
      _ parser: XMLParser, didEndElement name: String, namespaceURI: String?,
      qualifiedName: String?
    ) {
      open.removeLast()
    }
  }
}
