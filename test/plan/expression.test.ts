import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Session } from 'chdb'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { entity, group } from '../../features/define/index.ts'
import type { Condition, Rows } from '../../features/define/index.ts'
import type { Cell, FieldType } from '../../features/kernel/types.ts'
import { clickHouseType, expressionToSql, sqlIdentifier, sqlString } from '../../features/plan/expression-sql.ts'
import { decimalText } from '../../features/plan/event.ts'
import { compileExpression } from '../../features/plan/expression.ts'
import type { Expression } from '../../features/plan/plan.ts'
import { expressionText } from '../../features/plan/render.ts'
import { everyField, problemsOf, projectOf, sourceOf } from './source.ts'

const source = sourceOf(everyField)
const every = entity('every', { key: 'id' })
const folder = mkdtempSync(join(tmpdir(), 'headwater-expression-'))
const session = new Session(folder)

afterAll(() => {
  session.cleanup()
  rmSync(folder, { recursive: true, force: true })
})

type E = Rows<(typeof everyField)['fields']>

/** The checked expression of a `where`. */
function where(build: (e: E) => Condition): Expression {
  const g = group('g', { entity: every, source: everyField }, e => ({ n: e.count('1h', { where: build(e) }) }))
  const expression = projectOf({ g }).plan.groups[0]?.features[0]?.where
  if (expression === null || expression === undefined) throw new Error('no expression')
  return expression
}

/** Cells of a row with some fields set, the others null. */
function row(fields: Readonly<Record<string, Cell>>): readonly Cell[] {
  return source.fields.map(field => fields[field.name] ?? null)
}

/** Edges of each type, which random values alone would seldom meet. */
const EDGES: Readonly<Record<FieldType['kind'], readonly (string | number | boolean | bigint)[]>> = {
  string: [
    '',
    'a',
    'A',
    'aa',
    'ü',
    '\uffff',
    '🦊',
    "it's",
    '\\',
    '`',
    '%',
    'a\0b',
    '\n\t\b',
    '\ue000',
    '$1',
    '{x:Int8}',
  ],
  boolean: [true, false],
  int: [0, 1, -1, 9007199254740991, -9007199254740991],
  int64: [0n, 1n, -1n, 2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n],
  double: [0, 1, -1, 0.1, 0.30000000000000004, 1e308, 5e-324, -1.7976931348623157e308, 1e21, 1e15, 123456.789],
  decimal: [0, 1, -1, 100, 9007199254740991, -9007199254740991],
  timestamp: [100_000_000_000, 1_700_000_000_000],
  vector: [0],
}

function presentCell(kind: FieldType['kind']): fc.Arbitrary<Cell> {
  const edges = fc.constantFrom<Cell>(...(EDGES[kind] as readonly Cell[]))
  switch (kind) {
    case 'string':
      return fc.oneof(
        edges,
        fc.string({ unit: 'binary', maxLength: 4 }).filter(text => text.isWellFormed()),
      )
    case 'boolean':
      return edges
    case 'int64':
      return fc.oneof(edges, fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }))
    case 'double':
      return fc.oneof(
        edges,
        fc.double({ noNaN: true, noDefaultInfinity: true }).map(n => n + 0),
      )
    case 'vector':
      return fc.constant([1, 2, 3])
    case 'timestamp':
      return fc.oneof(edges, fc.integer({ min: 100_000_000_000, max: 4_000_000_000_000 }))
    default:
      return fc.oneof(
        edges,
        fc.integer({ min: -5, max: 5 }),
        fc.maxSafeInteger().map(n => n + 0),
      )
  }
}

/** A cell as rows hold it: also null, and for doubles NaN and infinities. */
function rowCell(kind: FieldType['kind'], optional: boolean): fc.Arbitrary<Cell> {
  const odd = kind === 'double' ? [fc.constantFrom<Cell>(NaN, Infinity, -Infinity)] : []
  return fc.oneof({ arbitrary: presentCell(kind), weight: 4 }, ...odd, ...(optional ? [fc.constant(null)] : []))
}

const fieldArbitrary = fc.constantFrom(...source.fields.filter(field => field.type.kind !== 'vector'))

const literalOf = (type: FieldType): fc.Arbitrary<Expression> =>
  presentCell(type.kind).map(cell => ({
    op: 'literal',
    type,
    value: typeof cell === 'bigint' ? String(cell) : (cell as string | number | boolean),
  }))

const comparisonArbitrary: fc.Arbitrary<Expression> = fieldArbitrary.chain(field => {
  const left: Expression = { op: 'field', name: field.name }
  const same = source.fields.filter(other => clickHouseType(other.type, false) === clickHouseType(field.type, false))
  const peers = same.filter(other => other.type.kind === field.type.kind)
  const right = fc.oneof(
    literalOf(field.type),
    fc.constantFrom(...peers).map((other): Expression => ({ op: 'field', name: other.name })),
  )
  const ops = field.type.kind === 'boolean' ? (['eq', 'ne'] as const) : (['eq', 'ne', 'lt', 'le', 'gt', 'ge'] as const)
  return fc.record({ op: fc.constantFrom(...ops), left: fc.constant(left), right })
})

const leafArbitrary: fc.Arbitrary<Expression> = fc.oneof(
  { arbitrary: comparisonArbitrary, weight: 4 },
  fc
    .constantFrom(...source.fields)
    .map((field): Expression => ({ op: 'isNull', term: { op: 'field', name: field.name } })),
  fieldArbitrary.chain(field =>
    fc
      .array(literalOf(field.type), { minLength: 1, maxLength: 3 })
      .map((values): Expression => ({ op: 'in', term: { op: 'field', name: field.name }, values })),
  ),
  fc
    .record({ name: fc.constantFrom('s', 'rs', 'id'), prefix: presentCell('string') })
    .map(({ name, prefix }): Expression => ({
      op: 'startsWith',
      term: { op: 'field', name },
      prefix: prefix as string,
    })),
  fc.constantFrom('b', 'rb').map((name): Expression => ({ op: 'field', name })),
)

const { tree: treeArbitrary } = fc.letrec<{ tree: Expression }>(tie => ({
  tree: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    leafArbitrary,
    fc.record({
      op: fc.constantFrom('and' as const, 'or' as const),
      terms: fc.array(tie('tree'), { minLength: 1, maxLength: 3 }),
    }),
    tie('tree').map((term): Expression => ({ op: 'not', term })),
  ),
}))

const rowArbitrary = fc.tuple(...source.fields.map(field => rowCell(field.type.kind, field.optional)))

/** A cell as a value of JSONEachRow, the form in which rows reach ClickHouse. */
function inputText(cell: Cell, type: FieldType): string {
  if (cell === null) return type.kind === 'vector' ? '[]' : 'null'
  if (type.kind === 'decimal') return `"${decimalText(cell as number, type.scale)}"`
  if (typeof cell === 'bigint') return `"${cell}"`
  if (typeof cell === 'number' && !Number.isFinite(cell))
    return `"${Number.isNaN(cell) ? 'nan' : cell > 0 ? 'inf' : '-inf'}"`
  return JSON.stringify(cell)
}

/** Evaluates all expressions over all rows in ClickHouse. */
function inClickHouse(expressions: readonly Expression[], rows: readonly (readonly Cell[])[]): (boolean | null)[][] {
  const structure = source.fields.map(
    field => `${sqlIdentifier(field.name)} ${clickHouseType(field.type, field.optional)}`,
  )
  const lines = rows.map((cells, index) => {
    const values = source.fields.map(
      (field, at) => `${JSON.stringify(field.name)}:${inputText(cells[at] ?? null, field.type)}`,
    )
    return `{"row_number":${index},${values.join(',')}}`
  })
  const columns = expressions.map(
    (expression, index) => `CAST(${expressionToSql(expression, source)} AS Nullable(Bool)) AS x${index}`,
  )
  const sql = [
    `SELECT ${columns.join(', ')}`,
    `FROM format(JSONEachRow, ${sqlString(`row_number UInt32, ${structure.join(', ')}`)}, ${sqlString(lines.join('\n'))})`,
    'ORDER BY row_number SETTINGS precise_float_parsing = 1, max_query_size = 100000000, max_ast_elements = 1000000',
  ].join('\n')
  const output = session.query(sql, 'JSONCompactEachRow')
  return output
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as (boolean | null)[])
}

describe('an expression', () => {
  it('has the same answer in JavaScript and in ClickHouse, over random trees and rows', () => {
    fc.assert(
      fc.property(
        fc.array(treeArbitrary, { minLength: 20, maxLength: 60 }),
        fc.array(rowArbitrary, { minLength: 20, maxLength: 60 }),
        (expressions, rows) => {
          const answers = inClickHouse(expressions, rows)
          expect(answers).toHaveLength(rows.length)
          for (const [index, expression] of expressions.entries()) {
            const filter = compileExpression(expression, source)
            for (const [at, cells] of rows.entries()) {
              const mine = filter(cells)
              if (mine !== answers[at]?.[index]) {
                const shown = `${expressionText(expression)}\n${expressionToSql(expression, source)}\n${cells.map(String).join(' | ')}`
                expect.fail(`JavaScript says ${mine}, ClickHouse ${answers[at]?.[index]}:\n${shown}`)
              }
            }
          }
        },
      ),
      { numRuns: 40, endOnFailure: true },
    )
  })

  it('follows three-valued logic', () => {
    const table = (build: (e: E) => Condition): (boolean | null)[] => {
      const filter = compileExpression(where(build), source)
      return [true, false, null].flatMap(b => [5, 1, null].map(i => filter(row({ b, i }))))
    }
    expect(table(e => e.b.isTrue().and(e.i.gt(2)))).toEqual([true, false, null, false, false, false, null, false, null])
    expect(table(e => e.b.isTrue().or(e.i.gt(2)))).toEqual([true, true, true, true, false, null, true, null, null])
    expect(table(e => e.b.isFalse().not())).toEqual([true, true, true, false, false, false, null, null, null])
    expect(table(e => e.i.in([5, 6]))).toEqual([true, false, null, true, false, null, true, false, null])
    expect(table(e => e.i.isNull())).toEqual([false, false, true, false, false, true, false, false, true])
    expect(table(e => e.b.isNotNull())).toEqual([true, true, true, true, true, true, false, false, false])
  })

  it('holds literals in the terms of cells: decimals scaled, int64 as digits', () => {
    expect(where(e => e.m.gt(12.3))).toEqual({
      op: 'gt',
      left: { op: 'field', name: 'm' },
      right: { op: 'literal', type: { kind: 'decimal', scale: 2 }, value: 1230 },
    })
    expect(where(e => e.l.in([2n ** 60n]))).toMatchObject({ values: [{ value: '1152921504606846976' }] })
  })

  it('orders strings by their UTF-8 bytes', () => {
    const filter = compileExpression(
      where(e => e.s.gt('\uffff')),
      source,
    )
    expect([filter(row({ s: '🦊' })), filter(row({ s: '\ufffe' }))]).toEqual([true, false])
  })

  it('names columns and literals so that nothing escapes its quotes', () => {
    const text = `x' OR 1=1 -- \\`
    expect(
      expressionToSql(
        where(e => e.s.eq(text)),
        source,
      ),
    ).toBe("(`s` = 'x\\' OR 1=1 -- \\\\')")
    expect(sqlIdentifier('a`b\\')).toBe('`a\\`b\\\\`')
    expect(
      expressionToSql(
        where(e => e.s.isNull()),
        source,
        name => `r.${sqlIdentifier(name)}`,
      ),
    ).toBe('isNull(r.`s`)')
  })
})

describe('a wrong expression', () => {
  const messages = (build: (e: Record<string, never>) => unknown): readonly string[] => {
    const g = group('g', { entity: every, source: everyField }, e => ({
      n: e.count('1h', { where: build(e as unknown as Record<string, never>) as Condition }),
    }))
    const problems = problemsOf({ g })
    expect(problems.every(problem => problem.code === 'HW0307' && problem.where === 'group g, feature n')).toBe(true)
    return problems.map(problem => problem.message)
  }
  const e = <T>(columns: unknown): T => columns as T

  it.each<[string, (columns: E) => unknown, string]>([
    [
      'an unknown field',
      c => e<Record<string, E['i']>>(c)['nothing']?.gt(1),
      'there is no field "nothing"; there are id',
    ],
    ['a literal of another type', c => c.i.gt('5' as never), 'expected a whole number, found the string "5"'],
    ['a decimal with too many digits', c => c.m.gt(0.005), '0.005 has 3 decimals, scale is 2'],
    ['null', c => c.i.eq(null as never), 'use isNull()'],
    ['undefined', c => c.i.eq(undefined as never), 'use isNull()'],
    ['NaN', c => c.d.eq(NaN), 'never useful'],
    ['two scales', c => c.m.gt(c.n), 'decimal(2) cannot be compared with decimal(9)'],
    ['two types', c => c.i.gt(c.s as never), 'int cannot be compared with string'],
    ['vectors', c => e<{ v: E['i'] }>(c).v.eq(c.v as never), 'vectors cannot be compared'],
    ['a vector and a number', c => e<{ v: E['i'] }>(c).v.eq(1), 'vectors cannot be compared'],
    ['the order of booleans', c => e<{ b: E['i'] }>(c).b.gt(true as never), 'booleans have no order'],
    ['an empty list', c => c.i.in([]), 'in([]) is never true'],
    ['a column in a list', c => c.i.in([c.ri as never]), 'in() takes plain values'],
    ['the beginning of a number', c => e<{ i: E['s'] }>(c).i.startsWith('1'), 'startsWith takes a string, not int'],
    ['a number as beginning', c => c.s.startsWith(1 as never), 'expected a string, found 1'],
    ['a column', c => c.i, 'it is int, not a condition'],
    ['a column within', c => c.i.gt(1).and(c.s as never), 'string is not a condition'],
    ['a plain value', () => 5, 'expected true or false, found 5'],
    ['an object', () => ({ draft: { op: 'magic' } }), 'not an expression'],
    ['seconds', c => c.w.gt(1_700_000_000), 'looks like seconds'],
  ])('with %s is explained', (_name, build, message) => {
    expect(messages(columns => build(columns as unknown as E)).join('; ')).toContain(message)
  })

  it('is explained in all its parts at once', () => {
    expect(
      messages(c =>
        e<E>(c)
          .i.gt('x' as never)
          .and(e<E>(c).m.eq(0.001), e<E>(c).s.in([])),
      ),
    ).toHaveLength(3)
  })

  it('is refused when it is too large', () => {
    const large = messages(c => {
      const { i } = e<E>(c)
      return i.gt(1).and(...new Array<Condition>(1000).fill(i.gt(2)))
    })
    expect(large).toEqual(['where: it has more than 1000 parts'])
  })

  it('cannot be compiled against a source without its fields', () => {
    const expression = where(c => c.i.gt(1))
    expect(() => compileExpression(expression, { ...source, fields: [] })).toThrow('event "every" has no field "i"')
  })
})
