import type { Derived, DerivedValue } from '../define/index.ts'
import { definitionKind } from '../define/marks.ts'
import type { Value } from '../kernel/types.ts'
import { shownText } from './compile-names.ts'

/** What derived features answered for one view, so that each is computed once: fresh for every view, never reused. */
export type SharedAnswers = Map<object, Value>

/** One derived feature of a service. */
export interface DerivedCode {
  readonly name: string
  /**
   * Its value for a view. Throws what the author's function, or that of a derived feature it needs, threw, and
   * `TypeError` where one of them answered no value.
   * @param shared one map for all derived features of the same view
   */
  evaluate(view: unknown, shared?: SharedAnswers): Value
}

/** A function with those that it needs; `key` is what the author wrote, the same wherever it is needed. */
interface Node {
  readonly key: object
  readonly label: string
  readonly needs: readonly (readonly [name: string, node: Node])[]
  readonly evaluate: (view: never) => unknown
  /** Whether another one may ask for its answer. */
  shared: boolean
}

/** Makes the code of one service's derived features: a definition that several of them need is one node. */
export function derivedCompiler(): (name: string, given: (view: unknown) => unknown) => DerivedCode {
  const nodes = new Map<object, Node>()
  return (name, given) => {
    const node = nodeOf(given, name, nodes)
    return { name, evaluate: (view, shared = new Map()) => answer(node, view, shared) }
  }
}

function nodeOf(given: (view: never) => unknown, label: string, nodes: Map<object, Node>): Node {
  const known = nodes.get(given)
  if (known !== undefined) {
    known.shared = true
    return known
  }
  const definition = definitionKind(given) === 'derived' ? (given as Derived<never, DerivedValue>) : null
  const needs: (readonly [string, Node])[] = []
  for (const [name, needed] of Object.entries(definition?.derived ?? {})) {
    if (definitionKind(needed) !== 'derived') continue
    needs.push([name, nodeOf(needed, `${name}, which ${label} looks at,`, nodes)])
  }
  const node: Node = { key: given, label, needs, evaluate: definition?.source ?? given, shared: false }
  nodes.set(given, node)
  return node
}

function answer(node: Node, view: unknown, shared: SharedAnswers): Value {
  if (node.shared) {
    const known = shared.get(node.key)
    if (known !== undefined) return known
  }
  let seen = view
  if (node.needs.length > 0) {
    const derived: Record<string, Value> = {}
    for (const [name, needed] of node.needs) derived[name] = answer(needed, view, shared)
    seen = { ...(view as object), derived }
  }
  const value = checked(node.label, node.evaluate(seen as never))
  if (node.shared) shared.set(node.key, value)
  return value
}

function checked(label: string, value: unknown): Value {
  switch (typeof value) {
    case 'number':
      return value + 0
    case 'string':
    case 'boolean':
    case 'bigint':
      return value
    default:
      if (value === null) return null
      throw new TypeError(
        `derived feature ${label} returned ${shownText(value)}, not a number, string, boolean, bigint or null`,
      )
  }
}
