import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import * as places from '../../features/define/helpers/places.ts'
import * as ratios from '../../features/define/helpers/ratio.ts'
import * as texts from '../../features/define/helpers/text.ts'
import { AGGREGATORS } from '../../features/kernel/index.ts'
import { referenceOf } from './semantics-aggregators.ts'
import { examplesOf, sectionsOf } from './semantics-page.ts'
import type { Calls, Example, Section } from './semantics-page.ts'
import { agrees, byOracle, byStorage, callValue, prepare, wrongReads, wrongVerdicts } from './semantics-run.ts'
import { startEngine, wrongOffline } from './semantics-sql.ts'

const root = resolve(import.meta.dirname, '..', '..')
const PARTS = ['What it means', 'Aggregators', 'Derived features']

const sections = sectionsOf(readFileSync(join(root, 'features', 'README.md'), 'utf8')).filter(section =>
  PARTS.includes(section.part),
)
const found = sections.flatMap(examplesOf)
const examples = found.filter((each): each is Example => 'reads' in each)
const calls = found.filter((each): each is Calls => 'calls' in each)
const preamble = preambleOf(sections)
const engine = startEngine()

afterAll(() => engine.end())

/** The definitions that all examples go on from: the first block of the first part. */
function preambleOf([first]: readonly Section[]): string {
  const code = first?.elements.find(element => element.kind === 'code')
  if (code === undefined) throw new RangeError('the page begins its examples without definitions')
  return code.text
}

function wrongIn(example: Example, table: string): readonly string[] {
  const prepared = prepare(preamble, example)
  return [
    ...wrongVerdicts(prepared),
    ...wrongReads(prepared, 'definition', byOracle),
    ...wrongReads(prepared, 'storage', byStorage),
    ...wrongOffline(engine, table, prepared),
  ]
}

describe('every example of features/README.md', () => {
  it.each(examples.map((example, at) => [example.heading, example.code.line, example, at] as const))(
    '%s, line %d: is what the definition, storage and ClickHouse answer',
    (_heading, _line, example, at) => {
      expect(wrongIn(example, `example${at}`)).toEqual([])
    },
  )

  it.each(calls.map(each => [each.heading, each.code.line, each] as const))(
    '%s, line %d: functions answer what stands beside them',
    (heading, _line, block) => {
      const lines = block.code.text.split('\n').filter(line => line !== '' && !line.startsWith('import '))
      expect(block.calls.length).toBe(lines.length)
      for (const call of block.calls) {
        const value = callValue(preamble, block, call)
        expect(agrees(call.value, value), `line ${call.line}, ${heading}: it is ${JSON.stringify(value)}`).toBe(true)
      }
    },
  )

  it('compiles as TypeScript', () => {
    const folder = mkdtempSync(join(tmpdir(), 'headwater-examples-'))
    try {
      const define = JSON.stringify(join(root, 'features/define/index.ts'))
      for (const { code } of found) {
        const text = `${preamble}\n${code.text}\n`.replaceAll("'headwater'", define)
        writeFileSync(join(folder, `line${code.line}.ts`), text)
      }
      const compilerOptions = { types: [], noUnusedLocals: false }
      const project = { extends: join(root, 'tsconfig.json'), compilerOptions, include: ['*.ts'] }
      writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
      writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(project))
      const compiler = join(root, 'node_modules/typescript/bin/tsc')
      let output = ''
      try {
        execFileSync(process.execPath, [compiler, '-p', folder], { encoding: 'utf8' })
      } catch (error) {
        output = String((error as { readonly stdout?: unknown }).stdout)
      }
      expect(output).toBe('')
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })
})

describe('features/README.md', () => {
  it('has an example in every section that states a rule', () => {
    expect(new Set(sections.map(section => section.part))).toEqual(new Set(PARTS))
    const rules = sections.filter(section => section.level === 3)
    expect(rules.length).toBeGreaterThan(25)
    const without = rules.filter(section => examplesOf(section).length === 0)
    expect(without.map(section => `${section.heading}, line ${section.line}`)).toEqual([])
    const blocks = sections.flatMap(section => section.elements.filter(element => element.kind === 'code'))
    expect(blocks.length, 'every block but the definitions is an example').toBe(found.length + 1)
  })

  it('uses every aggregator in an example, and every function for derived features', () => {
    const used = new Set(examples.flatMap(example => familiesOf(example)))
    expect(AGGREGATORS.map(each => each.family).filter(family => !used.has(family))).toEqual([])
    const code = found.map(each => each.code.text.replaceAll(/^import .*$/gm, '')).join('\n')
    const helpers = Object.keys({ ...places, ...ratios, ...texts })
    const idle = helpers.filter(name => !new RegExp(`\\b${name}\\(`).test(code))
    expect(idle).toEqual([])
  })

  it('says of every aggregator what its descriptor says', () => {
    const elements = sections.filter(section => section.part === 'Aggregators').flatMap(section => section.elements)
    const table = elements.find(element => element.kind === 'table')
    const rows = (table?.rows ?? []).map(row => {
      const { exactness, ...stated } = Object.fromEntries(row.cells)
      return { stated, exactness: exactness ?? '' }
    })
    expect(rows.map(row => row.stated)).toEqual(AGGREGATORS.map(referenceOf))
    rows.forEach(({ exactness }, at) => {
      const { doc, family } = AGGREGATORS[at]!
      for (const quote of exactness.split(' … ')) {
        expect(doc.toLowerCase(), `${family} is said to be: ${exactness}`).toContain(quote.toLowerCase())
      }
    })
    const items = elements.flatMap(element => (element.kind === 'item' ? [element.text] : []))
    expect(items.sort()).toEqual(AGGREGATORS.map(({ family, doc }) => `\`${family}\`: ${doc}`).sort())
  })
})

function familiesOf(example: Example): readonly string[] {
  return prepare(preamble, example).features.map(feature => feature.plan.aggregator.family)
}

describe('a wrong number on the page', () => {
  it('is found by the definition, by storage and offline, and named by section and line', () => {
    const right = examples.find(example => example.heading === 'Sliding windows')!
    const [row, ...rest] = right.reads.rows
    const wrongRow = { line: row!.line, cells: new Map([...row!.cells, ['payments_10s', '7']]) }
    const wrong = wrongIn({ ...right, reads: { ...right.reads, rows: [wrongRow, ...rest] } }, 'wrong')
    const ways = ['definition', 'storage', 'ClickHouse', 'the kernel over rows']
    expect(wrong).toHaveLength(ways.length)
    ways.forEach((way, at) => {
      expect(wrong[at]).toMatch(
        new RegExp(`^line ${row!.line}, Sliding windows: payments_10s is "?0"? by ${way}, not 7$`),
      )
    })
  })

  it('is found where an event is said to count and is late', () => {
    const right = examples.find(example => example.heading === 'Late events')!
    const rows = right.events.rows.map(row => ({ ...row, cells: new Map([...row.cells, ['log', '']]) }))
    const wrong = wrongIn({ ...right, events: { ...right.events, rows } }, 'unlate')
    expect(wrong).toHaveLength(2)
    expect(wrong[0]).toMatch(/^line \d+, Late events: the event late by definition, not counts$/)
  })
})
