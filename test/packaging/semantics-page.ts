import { runInThisContext } from 'node:vm'

/** A fenced block of TypeScript. Lines are counted from 1, as editors do. */
export interface Code {
  readonly kind: 'code'
  readonly line: number
  readonly text: string
}

/** A row of a table: its cells by the heading of their column, without the marks of Markdown. */
export interface Row {
  readonly line: number
  readonly cells: ReadonlyMap<string, string>
}

/** A table of the page. */
export interface Table {
  readonly kind: 'table'
  readonly line: number
  readonly header: readonly string[]
  readonly rows: readonly Row[]
}

/** An item of a list, its lines joined by single spaces. */
export interface Item {
  readonly kind: 'item'
  readonly line: number
  readonly text: string
}

/** What stands between two headings; `part` is the heading of the second level above it. */
export interface Section {
  readonly part: string
  readonly heading: string
  readonly level: number
  readonly line: number
  readonly elements: readonly (Code | Table | Item)[]
}

/** Definitions with the events of a log and the values that reads of it answer. */
export interface Example {
  readonly heading: string
  readonly code: Code
  readonly events: Table
  readonly reads: Table
}

/** An expression of a block and the value that the comment behind it states. */
export interface Call {
  readonly line: number
  readonly expression: string
  readonly value: string
}

/** A block whose lines are expressions with their values. */
export interface Calls {
  readonly heading: string
  readonly code: Code
  readonly calls: readonly Call[]
}

/** Sections of a page in Markdown, in order. */
export function sectionsOf(markdown: string): readonly Section[] {
  const lines = markdown.split('\n')
  const sections: (Section & { elements: (Code | Table | Item)[] })[] = []
  let part = ''
  for (let at = 0; at < lines.length; at++) {
    const text = lines[at]!
    const fence = /^```(\w*)$/.exec(text)
    if (fence !== null) {
      const end = lines.indexOf('```', at + 1)
      const inside = lines.slice(at + 1, end)
      if (fence[1] === 'ts') sections.at(-1)?.elements.push({ kind: 'code', line: at + 1, text: inside.join('\n') })
      at = end
      continue
    }
    const heading = /^(#+) (.*)$/.exec(text)
    if (heading !== null) {
      const level = heading[1]!.length
      if (level === 2) part = heading[2]!
      sections.push({ part, heading: heading[2]!, level, line: at + 1, elements: [] })
    } else if (text.startsWith('|')) {
      let end = at
      while (lines[end]?.startsWith('|') === true) end++
      sections.at(-1)?.elements.push(tableOf(lines.slice(at, end), at + 1))
      at = end - 1
    } else if (text.startsWith('- ')) {
      let end = at + 1
      while (lines[end]?.startsWith('  ') === true) end++
      const whole = lines.slice(at, end).map(line => line.slice(2).trim())
      sections.at(-1)?.elements.push({ kind: 'item', line: at + 1, text: whole.join(' ') })
      at = end - 1
    }
  }
  return sections
}

function tableOf(lines: readonly string[], line: number): Table {
  const header = cellsOf(lines[0]!)
  const rows = lines.slice(2).map((text, index): Row => {
    const cells = cellsOf(text)
    return { line: line + 2 + index, cells: new Map(header.map((name, column) => [name, cells[column] ?? ''])) }
  })
  return { kind: 'table', line, header, rows }
}

/** Without the bars, the back-quotes around a whole cell and the backslashes before punctuation. */
function cellsOf(row: string): readonly string[] {
  const cells = row.split(/(?<!\\)\|/).slice(1, -1)
  return cells.map(cell =>
    cell
      .trim()
      .replace(/^`([^`]*)`$/, '$1')
      .replaceAll(/\\([|[\]_*<>])/g, '$1'),
  )
}

/** Blocks of TypeScript with the tables behind them; a block without tables that is no list of calls is left out. */
export function examplesOf({ heading, elements }: Section): readonly (Example | Calls)[] {
  return elements.flatMap((code, at): readonly (Example | Calls)[] => {
    if (code.kind !== 'code') return []
    const next = elements.slice(at + 1)
    const end = next.findIndex(element => element.kind === 'code')
    const tables = next.slice(0, end < 0 ? next.length : end).filter(element => element.kind === 'table')
    const events = tables.find(table => table.header[0] === 'event')
    const reads = tables.find(table => table.header[0] === 'read at')
    if (events !== undefined && reads !== undefined) return [{ heading, code, events, reads }]
    const calls = callsOf(code)
    return calls.length > 0 ? [{ heading, code, calls }] : []
  })
}

function callsOf({ text, line }: Code): readonly Call[] {
  return text.split('\n').flatMap((each, index): readonly Call[] => {
    const call = /^([\w.]+\(.*\)) \/\/ (.*)$/.exec(each)
    return call === null ? [] : [{ line: line + 1 + index, expression: call[1]!, value: call[2]! }]
  })
}

const DAY = '2026-03-02'

/** The instant that a cell names: a time of 2 March 2026, or of the day before it, `MM-DD` or `YYYY-MM-DD`; in UTC. */
export function instantOf(cell: string): number {
  const found = /^(?:(?:(\d{4})-)?(\d\d-\d\d) )?(\d\d:\d\d(?::\d\d(?:\.\d{3})?)?)$/.exec(cell)
  const [, year = '2026', day, time] = found ?? []
  const instant = Date.parse(`${day === undefined ? DAY : `${year}-${day}`}T${time}Z`)
  if (Number.isNaN(instant)) throw new RangeError(`"${cell}" is no time such as 10:00:00.001 or 03-01 10:00`)
  return instant
}

/** The value of a TypeScript literal, such as `[["DE", 2]]`, `12n` or `NaN`. */
export function literalOf(text: string): unknown {
  try {
    return runInThisContext(`(${text})`) as unknown
  } catch {
    throw new RangeError(`"${text}" is no literal`)
  }
}
