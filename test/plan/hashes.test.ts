import { describe, expect, it } from 'vitest'
import { entity, event, group, lastEvents, session, t, tumbling } from '../../features/define/index.ts'
import type { WindowLength } from '../../features/define/index.ts'
import type { Project } from '../../features/plan/compile.ts'
import { projectOf } from './source.ts'

const base = {
  names: { source: 'payment', entity: 'card', group: 'activity', feature: 'f' },
  topic: 'payments',
  lateness: '1d',
  clockSkew: '5m',
  readBack: '5m',
  partitions: 4,
  amountScale: 2,
  extraField: false,
  optionalNote: false,
  key: 'card',
  maxAge: '1m',
  perDay: 10,
  maxBytes: 1 << 24,
  description: '',
  feature: {
    window: '7d' as WindowLength,
    edge: undefined as '1h' | '2h' | undefined,
    halfLife: '1h' as '1h' | '2h',
    by: 'id' as 'id' | 'other',
    edges: [1, 2],
    bound: 1000,
    family: 'sum',
    where: 100,
    delay: '0s',
    include: 'current',
    whenEmpty: 0,
  },
}
type Setup = typeof base

/** One project with one feature, all of whose parts can be varied. */
function build(setup: Setup): Project {
  const { names, feature: f } = setup
  const source = event(names.source, {
    topic: setup.topic,
    id: 'id',
    time: 'at',
    lateness: setup.lateness as '1d',
    clockSkew: setup.clockSkew as '5m',
    readBack: setup.readBack as '1d',
    partitions: setup.partitions,
    description: setup.description,
    fields: {
      id: t.string({ description: setup.description }),
      at: t.timestamp(),
      card: t.string(),
      other: t.string(),
      amount: t.decimal(setup.amountScale),
      note: (setup.optionalNote ? t.optional(t.string()) : t.string()) as ReturnType<typeof t.string>,
      ...(setup.extraField ? { extra: t.int() } : {}),
    },
  })
  const of = entity(names.entity, { key: 'card', description: setup.description })
  const g = group(
    names.group,
    {
      entity: of,
      source,
      key: setup.key as 'card',
      maxAge: setup.maxAge as '1m',
      eventsPerEntityPerDay: setup.perDay,
      maxBytesPerEntity: setup.maxBytes,
      description: setup.description,
    },
    e => {
      const options = {
        where: e.amount.gt(f.where),
        delay: f.delay as '1d',
        include: f.include as 'current',
        description: setup.description,
      }
      const { window } = f
      const edged = f.edge === undefined ? options : { ...options, edge: f.edge }
      const made = {
        sum: e.sum(e.amount, window, edged),
        argMax: e.argMax(e.note, e[f.by], window, options),
        histogram: e.histogram(e.amount, f.edges, window, options),
        decayed: e.decayedSum(e.amount, f.halfLife, options),
        mean: e.mean(e.amount, window, { ...options, whenEmpty: f.whenEmpty }),
        distinct: e.distinct(e.note, window, { ...options, bound: f.bound }),
      }
      return { [names.feature]: made[f.family as 'sum'] }
    },
  )
  return projectOf({ g })
}

interface Hashes {
  readonly state: string
  readonly definition: string
  readonly plan: string
}

function hashes(change: (setup: Setup) => void, start: (setup: Setup) => void = () => undefined): Hashes {
  const setup = structuredClone(base)
  start(setup)
  change(setup)
  const { plan } = build(setup)
  const feature = plan.groups[0]?.features[0]
  if (feature === undefined) throw new Error('no feature')
  return { state: feature.stateHash, definition: feature.definitionHash, plan: plan.hash }
}

describe('the hashes of a feature', () => {
  const mean = (setup: Setup): void => void (setup.feature.family = 'mean')
  const of =
    (family: string) =>
    (setup: Setup): void =>
      void (setup.feature.family = family)
  const distinct = of('distinct')
  const same = hashes(() => undefined)

  it.each<[string, (setup: Setup) => void, ((setup: Setup) => void)?]>([
    ['the topic', s => (s.topic = 'other')],
    ['lateness', s => (s.lateness = '2d')],
    ['how far ahead of the log events are accepted', s => (s.clockSkew = '1m')],
    ['the type of a field it uses', s => (s.amountScale = 3)],
    ['the key field', s => (s.key = 'other')],
    ['the window', s => (s.feature.window = '8d')],
    ['a window without end', s => (s.feature.window = 'lifetime')],
    ['the filter', s => (s.feature.where = 101)],
    ['the delay', s => (s.feature.delay = '1d')],
    ['the aggregator', s => (s.feature.family = 'mean')],
    ["the aggregator's parameters", s => (s.feature.bound = 999), distinct],
    ['a list among the parameters', s => (s.feature.edges = [1, 3]), of('histogram')],
    ['the second field', s => (s.feature.by = 'other'), of('argMax')],
    ['the half-life', s => (s.feature.halfLife = '2h'), of('decayed')],
    ['an edge', s => (s.feature.edge = '1h')],
    ['another edge', s => (s.feature.edge = '2h'), s => (s.feature.edge = '1h')],
    ['a tumbling window', s => (s.feature.window = tumbling('7d'))],
    ['a lookback', s => (s.feature.window = tumbling('7d', { lookback: 1 })), s => (s.feature.window = tumbling('7d'))],
    ['the gap of a session', s => (s.feature.window = session('2h')), s => (s.feature.window = session('1h'))],
    [
      'the length of a session',
      s => (s.feature.window = session('1h', { maxLength: '2d' })),
      s => (s.feature.window = session('1h')),
    ],
    ['the number of events', s => (s.feature.window = lastEvents(5)), s => (s.feature.window = lastEvents(6))],
    [
      'a bound on the age of events',
      s => (s.feature.window = lastEvents(5, { within: '7d' })),
      s => (s.feature.window = lastEvents(5)),
    ],
  ])('change all with %s', (_what, change, start) => {
    const before = hashes(() => undefined, start)
    const after = hashes(change, start)
    expect(after.state).not.toBe(before.state)
    expect(after.definition).not.toBe(before.definition)
    expect(after.plan).not.toBe(before.plan)
  })

  it.each<[string, (setup: Setup) => void, ((setup: Setup) => void)?]>([
    ['include', s => (s.feature.include = 'excludeSelf')],
    ['whenEmpty', s => (s.feature.whenEmpty = 1), mean],
    ['maxAge', s => (s.maxAge = '2m')],
  ])('keep the state with another %s, which is another definition', (_what, change, start) => {
    const before = hashes(() => undefined, start)
    const after = hashes(change, start)
    expect(after.state).toBe(before.state)
    expect(after.definition).not.toBe(before.definition)
    expect(after.plan).not.toBe(before.plan)
  })

  it.each<[string, (setup: Setup) => void]>([
    ['names', s => (s.names = { source: 's2', entity: 'e2', group: 'g2', feature: 'f2' })],
    ['descriptions', s => (s.description = 'new words')],
    ['partitions', s => (s.partitions = 8)],
    ['readBack', s => (s.readBack = '1h')],
    ['the rate to plan for', s => (s.perDay = 20)],
    ['the room to plan for', s => (s.maxBytes = 1 << 20)],
    ['fields it does not use', s => (s.extraField = true)],
    ['optional fields it does not use', s => (s.optionalNote = true)],
  ])('are not concerned with %s, only the plan is', (_what, change) => {
    const after = hashes(change)
    expect(after.state).toBe(same.state)
    expect(after.definition).toBe(same.definition)
    expect(after.plan).not.toBe(same.plan)
  })

  it('are the same for a default that is spelled out', () => {
    expect(hashes(s => (s.feature.bound = 1000), distinct)).toEqual(hashes(() => undefined, distinct))
    const ofSession = (setup: Setup): void => void (setup.feature.window = session('1h'))
    expect(hashes(s => (s.feature.window = session('1h', { maxLength: '1d' })), ofSession)).toEqual(
      hashes(() => undefined, ofSession),
    )
    expect(same.state).toMatch(/^[0-9a-f]{64}$/)
  })
})
