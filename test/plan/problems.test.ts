import { describe, expect, it } from 'vitest'
import { event, group, t } from '../../features/define/index.ts'
import { compileProject } from '../../features/plan/compile.ts'
import type { Problem } from '../../features/plan/plan.ts'
import { PROBLEMS } from '../../features/plan/problems.ts'
import { basics, card, eventWith, exported, featureWith, fields, serviceWith } from './problem-definitions.ts'
import type { Case, Columns } from './problem-definitions.ts'
import { EVENT_CASES } from './event-problems.ts'
import { FEATURE_CASES } from './feature-problems.ts'
import { SERVICE_CASES } from './service-problems.ts'
import { problemsOf, projectOf } from './source.ts'
import { UNION_CASES } from './union-problems.ts'
import { WINDOW_CASES } from './window-problems.ts'

/** Each row: the code, a definition that earns it, and part of the message. */
const CASES: readonly Case[] = [...EVENT_CASES, ...FEATURE_CASES, ...WINDOW_CASES, ...UNION_CASES, ...SERVICE_CASES]

/** Where problems arise that no definition can cause: the loader, an empty project, a caller of the compiler. */
const ELSEWHERE = ['HW0001', 'HW0002', 'HW0003', 'HW0406', 'HW0901']

/** Messages with a remedy of their own. */
const OWN_REMEDY = /failed:|reaches .* back|is below the gap|divides by|needs the order|half-life; its|gap\w+ over/

describe('a bad definition', () => {
  it.each(CASES)('earns %s: %s', (code, _name, build, message) => {
    const problems = problemsOf(exported(build()))
    const found = problems.filter(problem => problem.code === code)
    expect(problems.map(problem => problem.message).join('; ')).toContain(message)
    expect(found.map(problem => problem.message).join('; ')).toContain(message)
    for (const problem of found) {
      expect(problem.file).toBe('m.ts')
      if (!OWN_REMEDY.test(problem.message)) expect(problem.remedy).toBe(PROBLEMS[code].remedy)
      expect(problem.remedy).not.toBe('')
      expect(problem.where).not.toBe('')
    }
  })

  it('covers every code of the table', () => {
    const covered = new Set<string>([...CASES.map(([code]) => code), ...ELSEWHERE])
    expect([...covered].sort()).toEqual(Object.keys(PROBLEMS).sort())
  })
})

describe('a function of a group that throws', () => {
  const failing = (build: (e: Columns) => unknown) =>
    problemsOf(exported(featureWith(build))).map(({ code, message, remedy }) => ({ code, message, remedy }))

  it('is answered with the operators that the field has', () => {
    expect(failing(e => e['count']?.('1h', { where: e.amount['gte']!(5) }))).toEqual([
      {
        code: 'HW0308',
        message:
          'the function that lists them failed: e.amount.gte is not a function; "amount" is decimal(2) and has no gte',
        remedy: 'correct the expression: a field of type decimal(2) has eq, ne, in, lt, le, gt, ge, isNull, isNotNull',
      },
    ])
    expect(failing(({ note }) => note['includes']!('x'))[0]?.remedy).toMatch(/type string has .*, startsWith$/)
  })

  it('is answered with the place where it says more than a field', () => {
    const [problem] = failing(e => (e.nothing['gte']!(5), undefined))
    expect(problem?.message).toContain('e.nothing.gte is not a function')
    expect(problem?.remedy).toBe('correct the expression or code that failed in this function')
  })
})

describe('the compiler', () => {
  it('reports all problems of all files at once, each under its file', () => {
    const result = compileProject({
      definitions: [
        { file: 'a.ts', exports: { payment: eventWith({ lateness: 'x', id: 'nothing', partitions: -1 }) } },
        { file: 'b.ts', exports: { g: featureWith(e => e['sum']?.(e.note, '5min')), s: serviceWith({ model: '' }) } },
      ],
      bundleHashes: {},
    })
    const problems: readonly Problem[] = result.ok ? [] : result.problems
    expect(problems.map(problem => `${problem.file} ${problem.code}`).sort()).toEqual([
      'a.ts HW0202',
      'a.ts HW0204',
      'a.ts HW0206',
      'b.ts HW0103',
      'b.ts HW0204',
      'b.ts HW0304',
      'b.ts HW0407',
    ])
  })

  it('says where nothing is defined', () => {
    const result = compileProject({
      definitions: [{ file: 'empty.ts', exports: { x: 5, y: () => 1 } }],
      bundleHashes: {},
    })
    expect(result.ok ? [] : result.problems.map(({ code, file }) => [code, file])).toEqual([['HW0003', 'empty.ts']])
    expect(compileProject({ definitions: [], bundleHashes: {} }).ok).toBe(true)
  })

  it('asks for the hash of modules that hold code', () => {
    const s = serviceWith({ derived: { x: () => 1 } })
    const result = compileProject({ definitions: [{ file: 'm.ts', exports: { s } }], bundleHashes: {} })
    expect(result.ok ? [] : result.problems.map(problem => problem.code)).toEqual(['HW0406'])
    const plain = compileProject({ definitions: [{ file: 'm.ts', exports: { s: serviceWith({}) } }], bundleHashes: {} })
    expect(plain.ok).toBe(true)
  })

  it('warns of labels that are looked at without a delay', () => {
    const labelled = event('labelled', { ...basics, fields: { ...fields, is_fraud: t.boolean() } })
    const g = group('g', { entity: card, source: labelled }, e => ({
      leaks: e.sum(e.is_fraud, '7d'),
      leaks_too: e.count('7d', { where: e.is_fraud.isTrue() }),
      by_it: e.argMax(e.note, e.is_fraud, '7d'),
      fine: e.sum(e.is_fraud, '7d', { delay: '7d' }),
    }))
    const { warnings } = projectOf({ g })
    expect(warnings.map(({ code, where }) => [code, where])).toEqual([
      ['HW0901', 'group g, feature leaks'],
      ['HW0901', 'group g, feature leaks_too'],
      ['HW0901', 'group g, feature by_it'],
    ])
  })
})
