import { describe, expect, it } from 'vitest'
import type { TopicInfo } from '../../topology/ports/event-log.ts'
import { checkTopic } from '../../topology/processors/topic-check.ts'
import type { TopicNeed } from '../../topology/topology.ts'

const DAY_MS = 86_400_000
const events: TopicNeed = {
  name: 'payments',
  partitions: 4,
  retentionMs: 0,
  use: 'events',
  leastRetentionMs: 2 * DAY_MS,
}
const reports: TopicNeed = { ...events, name: 'payments.late', use: 'reports', leastRetentionMs: 0 }
const good: TopicInfo = {
  name: 'payments',
  incarnation: 'x',
  partitions: 4,
  retentionMs: 0,
  retentionBytes: 0,
  compacted: false,
  appendTime: true,
  replicas: 3,
}

describe('the check of topics', () => {
  it('has nothing to say of one that fits, also when it just keeps long enough', () => {
    expect(checkTopic(events, good)).toEqual([])
    expect(checkTopic(events, { ...good, retentionMs: 2 * DAY_MS })).toEqual([])
  })

  it.each([
    ['is absent', null, /does not exist/, /topics --create/],
    ['has too few partitions', { partitions: 3 }, /has 3 partitions.* 4/, /add partitions/],
    ['is compacted', { compacted: true }, /compacted/, /cleanup\.policy/],
    ["keeps the producers' time", { appendTime: false }, /time that producers state/, /LogAppendTime/],
    ['forgets too soon', { retentionMs: DAY_MS }, /keeps records for 1 days.* 2 days/, /retention\.ms to 172800000/],
  ])('refuses events in a topic that %s', (_, change, message, remedy) => {
    const problems = checkTopic(events, change === null ? null : { ...good, ...change })
    expect(problems).toHaveLength(1)
    expect(problems[0]).toMatchObject({ topic: 'payments', severity: 'error' })
    expect(problems[0]?.message).toMatch(message)
    expect(problems[0]?.remedy).toMatch(remedy)
  })

  it('warns of a topic that grew or is bounded by size', () => {
    const problems = checkTopic(events, { ...good, partitions: 8, retentionBytes: 1_000 })
    expect(problems.map(problem => problem.severity)).toEqual(['warning', 'warning'])
  })

  it('warns of a topic that may lose what it acknowledged', () => {
    const safe: TopicInfo = { ...good, minInSyncReplicas: 2, uncleanElection: false }
    expect(checkTopic(events, safe)).toEqual([])
    expect(checkTopic(events, { ...safe, replicas: 1, minInSyncReplicas: 1 })).toEqual([])
    const problems = checkTopic(events, { ...safe, minInSyncReplicas: 1, uncleanElection: true })
    expect(problems.map(({ severity, remedy }) => [severity, remedy])).toEqual([
      ['warning', 'set unclean.leader.election.enable to false'],
      ['warning', 'set min.insync.replicas to 2'],
    ])
  })

  it('only warns where what is written can be had again', () => {
    const problems = checkTopic(reports, { ...good, compacted: true, appendTime: false, retentionMs: 1, partitions: 9 })
    expect(problems.map(problem => problem.severity)).toEqual(['warning', 'warning'])
  })
})
