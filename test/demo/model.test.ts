import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import * as definitions from '../../features/fraud/index.ts'
import { compileProject } from '../../features/plan/compile.ts'
import { createFolderModelRepository } from '../../topology/adapters/model-repository/folder.ts'
import { createOnnxRuntime } from '../../topology/adapters/model-runtime/onnx/onnx.ts'
import { checkReferences, SCORE_FEATURE } from '../../topology/monitoring/drift-counts.ts'
import { checkManifestAgainstPlan } from '../../topology/scoring/model-input.ts'

const FILE = 'features/fraud/index.ts'

describe('the shipped fraud model', () => {
  it('fits the shipped definitions, watches each of its inputs and its score, and answers probabilities', async () => {
    const repository = createFolderModelRepository(
      fileURLToPath(new URL('../../features/fraud/model', import.meta.url)),
    )
    const { manifest, path } = await repository.open('fraud')
    const compiled = compileProject({
      definitions: [{ file: FILE, exports: definitions }],
      bundleHashes: { [FILE]: 'any' },
    })
    if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems))
    const { plan } = compiled.project
    const service = plan.services.find(each => each.name === 'fraud')
    if (service === undefined) throw new Error('no service fraud')
    expect(compiled.project.warnings).toEqual([])
    expect(checkManifestAgainstPlan(manifest, plan, service)).toEqual([])
    checkReferences(new Map([['fraud@1', manifest]]))
    expect(manifest.reference.map(each => each.feature)).toEqual([
      ...manifest.inputs.map(input => input.name),
      SCORE_FEATURE,
    ])
    expect(manifest.metrics['auc']).toBeGreaterThan(0.95)

    const width = manifest.inputs.length
    const model = await createOnnxRuntime().load(path, { inputWidth: width, scoreOutput: manifest.scoreOutput })
    try {
      const row = (values: Readonly<Record<string, number>>) =>
        manifest.inputs.map(input => values[input.name] ?? input.default)
      const habit = {
        'card_activity.payments_5m': 1,
        'card_activity.payments_1h': 1,
        'card_activity.payments_24h': 2,
        'card_activity.mean_amount_7d': 30,
        'card_activity.std_amount_7d': 10,
        'card_activity.merchants_1h': 1,
        'card_activity.countries_24h': 1,
        'derived.amount_over_mean': 1,
        'derived.country_changed': 0,
        'request.amount': 30,
        'request.cardPresent': 1,
        'request.declined': 0,
      }
      const testing = {
        ...habit,
        'card_activity.payments_5m': 4,
        'card_activity.payments_1h': 15,
        'card_activity.payments_24h': 17,
        'card_activity.small_payments_1h': 14,
        'card_activity.declined_1h': 8,
        'card_activity.merchants_1h': 15,
        'card_activity.countries_24h': 7,
        'derived.amount_over_mean': 0.05,
        'derived.card_declined_share_1h': 0.53,
        'request.amount': 1.5,
        'request.cardPresent': 0,
      }
      const [honest = 1, fraud = 0] = await model.run(Float32Array.from([...row(habit), ...row(testing)]), 2)
      expect(honest).toBeGreaterThanOrEqual(0)
      expect(honest).toBeLessThan(0.1)
      expect(fraud).toBeGreaterThan(0.9)
      expect(fraud).toBeLessThanOrEqual(1)
    } finally {
      await model.close()
    }
  })
})
