import { renderFrame, renderPlainLine } from './frame.ts'
import type { DemoState } from './tally.ts'

/** What the view writes to, such as `process.stdout`. */
export interface ViewOutput {
  readonly isTTY?: boolean
  readonly columns?: number
  readonly rows?: number
  write(text: string): unknown
}

/** A display that is running. */
export interface View {
  /** Draws what is new once more, stops, and leaves the terminal as it was. May be called more than once. */
  stop(): void
  /** The same without drawing, for a process that is ending. */
  restore(): void
}

/** Where to draw, what, and how often; `state` is asked anew for every picture or line. */
export interface ViewOptions {
  readonly output: ViewOutput
  readonly state: () => DemoState
  /** Colours on a terminal. */
  readonly color: boolean
  /** Milliseconds between two pictures on a terminal; 250 by default. */
  readonly frameMs?: number
  /** Milliseconds between two lines without one; 5,000 by default. */
  readonly lineMs?: number
}

const ESCAPE = '\u001b['
const ENTER = `${ESCAPE}?1049h${ESCAPE}?25l`
const LEAVE = `${ESCAPE}?25h${ESCAPE}?1049l`
const DEFAULT_COLUMNS = 100
const DEFAULT_ROWS = 30

/**
 * Shows the demonstration until it is stopped: on a terminal a picture redrawn in place on the alternate screen, which
 * follows changes of its size; otherwise a line every few seconds.
 */
export function startView(options: ViewOptions): View {
  return options.output.isTTY === true ? startScreen(options) : startLines(options)
}

function startScreen({ output, state, color, frameMs = 250 }: ViewOptions): View {
  let ended = false
  const draw = () => {
    const columns = Math.max(40, output.columns ?? DEFAULT_COLUMNS)
    const rows = Math.max(10, output.rows ?? DEFAULT_ROWS)
    const lines = renderFrame(state(), columns, rows - 1).split('\n')
    const text = lines.map(line => (color ? paint(line) : line)).join(`${ESCAPE}K\r\n`)
    output.write(`${ESCAPE}H${text}${ESCAPE}K${ESCAPE}J`)
  }
  output.write(ENTER)
  draw()
  const timer = setInterval(draw, frameMs)
  const restore = () => {
    if (ended) return
    ended = true
    clearInterval(timer)
    output.write(LEAVE)
  }
  return {
    restore,
    stop() {
      if (!ended) draw()
      restore()
    },
  }
}

function startLines({ output, state, lineMs = 5000 }: ViewOptions): View {
  let last = ''
  let ended = false
  const line = () => {
    const next = renderPlainLine(state())
    if (next !== last) output.write(`${next}\n`)
    last = next
  }
  line()
  const timer = setInterval(line, lineMs)
  const restore = () => {
    ended = true
    clearInterval(timer)
  }
  return {
    restore,
    stop() {
      if (!ended) line()
      restore()
    },
  }
}

const HEADING = /^(Headwater demo|Decisions|Fraud|Drift|History|Events|Scores)/

/** Headings bold, what has moved and the watched card's fraud in colour. */
function paint(line: string): string {
  const strong = line.replace(HEADING, found => `${ESCAPE}1m${found}${ESCAPE}0m`)
  return strong
    .replace(/\bCard\b/, found => `${ESCAPE}1m${found}${ESCAPE}0m`)
    .replace(/[▲▼◆] █+/u, found => `${ESCAPE}33m${found}${ESCAPE}0m`)
    .replace(/(card testing|account takeover)$/, found => `${ESCAPE}31m${found}${ESCAPE}0m`)
}
