/** A token of ClickHouse SQL; comments and white space are left out. Offsets are in UTF-16 units. */
interface Token {
  readonly kind: 'word' | 'string' | 'quoted' | 'number' | 'symbol'
  readonly text: string
  readonly start: number
  readonly end: number
}

/** What the HTTP interface has to know of a statement before it hands it to the engine. */
export type Statement =
  | { readonly kind: 'empty' }
  | { readonly kind: 'many' }
  /** An INSERT whose data follow the statement; `table` is everything before them, without FORMAT and SETTINGS. */
  | {
      readonly kind: 'insertData'
      readonly head: string
      readonly settings: string
      readonly format: string
      readonly dataStart: number
      readonly placeholders: readonly string[]
    }
  /** A statement with a result that may be large. */
  | {
      readonly kind: 'select'
      readonly sql: string
      readonly format: string | null
      readonly outfile: boolean
      readonly placeholders: readonly string[]
    }
  /** A statement with a small result, such as SHOW or EXPLAIN. */
  | {
      readonly kind: 'show'
      readonly sql: string
      readonly format: string | null
      readonly placeholders: readonly string[]
    }
  /** A statement that changes the connection itself: SET, USE. */
  | { readonly kind: 'session'; readonly sql: string; readonly placeholders: readonly string[] }
  | { readonly kind: 'other'; readonly sql: string; readonly placeholders: readonly string[] }

const WORD_START = /[A-Za-z_]/
const WORD_PART = /[A-Za-z0-9_$]/

function skipQuoted(text: string, start: number): number {
  const quote = text[start]
  let at = start + 1
  while (at < text.length) {
    if (text[at] === '\\') at += 2
    else if (text[at] === quote && text[at + 1] === quote) at += 2
    else if (text[at] === quote) return at + 1
    else at += 1
  }
  return text.length
}

function skipBlockComment(text: string, start: number): number {
  let depth = 1
  let at = start + 2
  while (at < text.length && depth > 0) {
    if (text.startsWith('/*', at)) {
      depth += 1
      at += 2
    } else if (text.startsWith('*/', at)) {
      depth -= 1
      at += 2
    } else at += 1
  }
  return at
}

function lineEnd(text: string, start: number): number {
  const end = text.indexOf('\n', start)
  return end < 0 ? text.length : end
}

function* tokens(text: string): Generator<Token> {
  let at = 0
  while (at < text.length) {
    const char = text[at] as string
    let end = at + 1
    if (/\s/.test(char)) {
      at += 1
      continue
    }
    if (text.startsWith('--', at) || text.startsWith('#!', at) || text.startsWith('# ', at)) {
      at = lineEnd(text, at)
      continue
    }
    if (text.startsWith('/*', at)) {
      at = skipBlockComment(text, at)
      continue
    }
    let kind: Token['kind'] = 'symbol'
    if (char === "'") {
      kind = 'string'
      end = skipQuoted(text, at)
    } else if (char === '"' || char === '`') {
      kind = 'quoted'
      end = skipQuoted(text, at)
    } else if (char === '$' && /^\$\w*\$/.test(text.slice(at, at + 64))) {
      const tag = (/^\$\w*\$/.exec(text.slice(at, at + 64)) as RegExpExecArray)[0]
      const close = text.indexOf(tag, at + tag.length)
      kind = 'string'
      end = close < 0 ? text.length : close + tag.length
    } else if (WORD_START.test(char)) {
      kind = 'word'
      while (end < text.length && WORD_PART.test(text[end] as string)) end += 1
    } else if (/[0-9]/.test(char)) {
      kind = 'number'
      while (end < text.length && /[0-9A-Za-z_.]/.test(text[end] as string)) end += 1
    }
    yield { kind, text: text.slice(at, end), start: at, end }
    at = end
  }
}

function isWord(token: Token | undefined, word: string): boolean {
  return token?.kind === 'word' && token.text.toUpperCase() === word
}

function placeholdersOf(list: readonly Token[]): readonly string[] {
  const names = new Set<string>()
  for (let i = 0; i + 3 < list.length; i += 1) {
    const name = list[i + 1]
    if (list[i]?.text === '{' && name?.kind === 'word' && list[i + 2]?.text === ':') names.add(name.text)
  }
  return [...names]
}

/** Where inline data begin: after one line end, or after blanks on the same line. */
function dataStartAfter(text: string, end: number): number {
  const gap = /^[ \t]*(\r?\n)?/.exec(text.slice(end, end + 4096))
  return end + (gap?.[0].length ?? 0)
}

function insertWithData(text: string): Statement | null {
  const seen: Token[] = []
  let depth = 0
  let settingsFrom = -1
  for (const token of tokens(text)) {
    if (token.text === '(' || token.text === '[' || token.text === '{') depth += 1
    if (token.text === ')' || token.text === ']' || token.text === '}') depth -= 1
    const previous = seen.at(-1)
    const isName = isWord(previous, 'INTO') || isWord(previous, 'TABLE') || previous?.text === '.'
    if (seen.length === 0 && !isWord(token, 'INSERT')) return null
    if (depth === 0 && !isName && seen.length > 0) {
      if (isWord(token, 'SELECT') || isWord(token, 'WITH') || isWord(token, 'FROM') || isWord(token, 'WATCH'))
        return null
      if (isWord(token, 'SETTINGS') && settingsFrom < 0) settingsFrom = token.start
      const headEnd = settingsFrom < 0 ? token.start : settingsFrom
      const settings = settingsFrom < 0 ? '' : text.slice(settingsFrom, token.start)
      const head = text.slice(0, headEnd)
      if (isWord(token, 'VALUES')) {
        const placeholders = placeholdersOf(seen)
        return { kind: 'insertData', head, settings, format: 'Values', dataStart: token.end, placeholders }
      }
      if (isWord(previous, 'FORMAT') && token.kind === 'word') {
        const before = previous as Token
        const placeholders = placeholdersOf(seen)
        return {
          kind: 'insertData',
          head: text.slice(0, settingsFrom < 0 ? before.start : settingsFrom),
          settings: settingsFrom < 0 ? '' : text.slice(settingsFrom, before.start),
          format: isWord(token, 'VALUES') ? 'Values' : token.text,
          dataStart: dataStartAfter(text, token.end),
          placeholders,
        }
      }
    }
    seen.push(token)
  }
  return null
}

/** Index of the `FORMAT` token of a trailing FORMAT clause, or −1. */
function trailingFormat(list: readonly Token[]): number {
  let depth = 0
  for (let i = list.length - 1; i > 0; i -= 1) {
    const token = list[i] as Token
    if (token.text === ')' || token.text === ']' || token.text === '}') depth += 1
    if (token.text === '(' || token.text === '[' || token.text === '{') depth -= 1
    if (depth !== 0 || !isWord(token, 'FORMAT') || list[i + 1]?.kind !== 'word') continue
    const previous = list[i - 1] as Token
    if (previous.text === '.' || previous.text === ',' || isWord(previous, 'SELECT')) continue
    if (list[i + 2] === undefined || isWord(list[i + 2], 'SETTINGS')) return i
  }
  return -1
}

const SELECT_WORDS = new Set(['SELECT', 'WITH', 'FROM', 'VALUES', '('])
const SHOW_WORDS = new Set(['SHOW', 'DESCRIBE', 'DESC', 'EXPLAIN', 'EXISTS', 'CHECK'])

/** True for statements that read and change nothing, the only ones a GET may carry. */
export function isReading(statement: Statement): boolean {
  return statement.kind === 'select' || statement.kind === 'show'
}

/**
 * Classifies one statement. `complete` false means that `text` is the beginning of a longer body: only an INSERT with
 * data is recognised then, and null asks for the rest.
 */
export function parseStatement(text: string, complete: boolean): Statement | null {
  const insert = insertWithData(text)
  if (insert !== null) return insert
  if (!complete) return null
  let list = [...tokens(text)]
  while (list.at(-1)?.text === ';') list = list.slice(0, -1)
  const first = list[0]
  if (first === undefined) return { kind: 'empty' }
  if (list.some(token => token.kind === 'symbol' && token.text === ';')) return { kind: 'many' }
  const end = (list.at(-1) as Token).end
  const placeholders = placeholdersOf(list)
  const head = first.text.toUpperCase()
  if (head === 'SET' || head === 'USE') return { kind: 'session', sql: text.slice(0, end), placeholders }
  const isSelect = SELECT_WORDS.has(head) && !(head === 'WITH' && list.some(token => isWord(token, 'INSERT')))
  if (!isSelect && !SHOW_WORDS.has(head)) return { kind: 'other', sql: text.slice(0, end), placeholders }
  const at = trailingFormat(list)
  const format = at < 0 ? null : (list[at + 1] as Token).text
  const sql =
    at < 0
      ? text.slice(0, end)
      : `${text.slice(0, (list[at] as Token).start)} ${text.slice((list[at + 1] as Token).end, end)}`.trimEnd()
  if (!isSelect) return { kind: 'show', sql, format, placeholders }
  const outfile = list.some((token, i) => isWord(token, 'OUTFILE') && isWord(list[i - 1], 'INTO'))
  return { kind: 'select', sql, format, outfile, placeholders }
}
