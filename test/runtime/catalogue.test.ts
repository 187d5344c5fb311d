import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { entity, event, group, t } from '../../features/define/index.ts'
import { compileProject } from '../../features/plan/compile.ts'
import { EMPTY_CATALOGUE, placePlan } from '../../features/plan/units.ts'
import { openEmbeddedOnlineStore } from '../../topology/adapters/online-store/embedded.ts'
import type { OnlineStore } from '../../topology/ports/online-store.ts'
import { confirmCatalogue, keepCatalogue, readCatalogue } from '../../topology/runtime/catalogue.ts'

const clock = { nowMs: () => 1_700_000_000_000, monotonicMs: () => 0 }
const standings = new Map([['payment', { incarnation: 'life-1', startOffsets: [0], endOffsets: [0] }]])

function planOf(...windows: readonly ('5m' | '1h' | 'lifetime')[]) {
  const payment = event('payment', {
    topic: 'payments',
    id: 'id',
    time: 'at',
    partitions: 1,
    lateness: '1m',
    fields: { id: t.string(), at: t.timestamp(), card: t.string() },
  })
  const card = entity('card', { key: 'card' })
  const cards = group('cards', { entity: card, source: payment }, e =>
    Object.fromEntries(windows.map(window => [`n_${window}`, e.count(window)])),
  )
  const compiled = compileProject({
    definitions: [{ file: 'a.ts', exports: { payment, card, cards } }],
    bundleHashes: { 'a.ts': '0' },
  })
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems))
  return compiled.project.plan
}

describe('the catalogue of a store that was emptied', () => {
  const folder = mkdtempSync(join(tmpdir(), 'headwater-catalogue-'))
  const first = placePlan(planOf('5m'), EMPTY_CATALOGUE, standings)
  const evolved = placePlan(planOf('5m', 'lifetime'), first, standings)
  const anew = placePlan(planOf('5m', 'lifetime'), EMPTY_CATALOGUE, standings)
  let store: OnlineStore
  let stores = 0

  beforeAll(() => expect(anew).not.toEqual(evolved))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  async function withStore(run: () => Promise<void>): Promise<void> {
    store = await openEmbeddedOnlineStore({ path: join(folder, `${stores++}.sqlite`), clock })
    try {
      await run()
    } finally {
      await store.close()
    }
  }

  it('is written back as it was by whoever runs', () =>
    withStore(async () => {
      await Promise.all([1, 2, 3].map(() => confirmCatalogue(store, evolved)))
      expect(await readCatalogue(store)).toEqual(evolved)
      await confirmCatalogue(store, first)
      expect(await readCatalogue(store)).toEqual(evolved)
    }))

  it('that was made anew with other units is refused', () =>
    withStore(async () => {
      await store.writeDocument('catalogue', null, JSON.stringify(anew))
      await expect(confirmCatalogue(store, evolved)).rejects.toMatchObject({ code: 'CATALOGUE_REPLACED' })
      expect(await readCatalogue(store)).toEqual(anew)
    }))

  it('is looked at again and again, and what is wrong is told once', () =>
    withStore(async () => {
      const told: string[] = []
      const stop = keepCatalogue(store, evolved, error => told.push(error.code))
      const until = async (reached: () => Promise<boolean>): Promise<void> => {
        while (!(await reached())) await new Promise(done => setTimeout(done, 20))
      }
      await until(async () => (await readCatalogue(store)).revisions.length === evolved.revisions.length)
      await store.writeDocument('catalogue', JSON.stringify(evolved), JSON.stringify(anew))
      await until(() => Promise.resolve(told.length > 0))
      stop()
      expect(told).toEqual(['CATALOGUE_REPLACED'])
    }))
})
