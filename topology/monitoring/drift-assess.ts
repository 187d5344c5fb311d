import { compareCounts } from '../../features/statistics/drift.ts'
import type { FeatureDrift } from '../../features/statistics/drift.ts'
import { benjaminiHochberg } from '../../features/statistics/multiplicity.ts'
import { modelKey } from './drift-counts.ts'
import type { FeatureCounts, Manifests } from './drift-counts.ts'

/** When a difference is called drift. */
export interface DriftThresholds {
  /** PSI above which a significant difference alerts. */
  readonly psi: number
  /** Absolute difference of missing rates above which a significant difference alerts. */
  readonly missing: number
  /** False discovery rate over all tests of one model version. */
  readonly alpha: number
  /** No verdict below this many rows in the window. */
  readonly minimumRows: number
}

/** The thresholds where none are stated; a PSI below 0.1 is by common convention no shift. */
export const DRIFT_THRESHOLDS: DriftThresholds = { psi: 0.1, missing: 0.05, alpha: 0.01, minimumRows: 500 }

/** `alert`: above a threshold and significant. `too_few`: not enough rows to say. */
export type DriftVerdict = 'alert' | 'stable' | 'too_few'

/** One feature of one model version compared with its reference, and what follows from that. */
export interface DriftFinding extends FeatureDrift {
  readonly model: string
  readonly version: string
  readonly feature: string
  /** p-values adjusted over all features of the model version (Benjamini–Hochberg, PSI and missing tests together). */
  readonly psiQValue: number
  readonly missingQValue: number
  readonly verdict: DriftVerdict
}

/**
 * Compares counts with the frozen references, strongest drift first: by verdict, then PSI over its 99 % band, then
 * name. Counts without a manifest or reference, or counted over other edges than the reference's, are left out:
 * a row of an older manifest under the same version says nothing.
 */
export function assessDrift(
  counts: readonly FeatureCounts[],
  manifests: Manifests,
  thresholds: DriftThresholds = DRIFT_THRESHOLDS,
): readonly DriftFinding[] {
  const byModel = Map.groupBy(counts, each => modelKey(each.model, each.version))
  return [...byModel]
    .flatMap(([key, features]) => {
      const references = new Map(manifests.get(key)?.reference.map(each => [each.feature, each]))
      const compared = features.flatMap(each => {
        const reference = references.get(each.feature)
        if (reference === undefined || reference.counts.length !== each.bins.length) return []
        const { model, version, feature } = each
        const drift = compareCounts({ bins: reference.counts, missing: reference.missing }, each)
        return [{ model, version, feature, ...drift }]
      })
      return judge(compared, thresholds)
    })
    .toSorted(strongestFirst)
}

function judge(
  compared: readonly (FeatureDrift & Pick<DriftFinding, 'model' | 'version' | 'feature'>)[],
  thresholds: DriftThresholds,
): readonly DriftFinding[] {
  const adjusted = benjaminiHochberg([...compared.map(d => d.psiPValue), ...compared.map(d => d.missingPValue)])
  return compared.map((drift, index) => {
    const psiQValue = adjusted[index] ?? 1
    const missingQValue = adjusted[compared.length + index] ?? 1
    const shifted = drift.psi > thresholds.psi && psiQValue < thresholds.alpha
    const lost = Math.abs(drift.missingDifference) > thresholds.missing && missingQValue < thresholds.alpha
    const enough = drift.currentRows >= thresholds.minimumRows
    return { ...drift, psiQValue, missingQValue, verdict: enough ? (shifted || lost ? 'alert' : 'stable') : 'too_few' }
  })
}

const VERDICT_ORDER: Readonly<Record<DriftVerdict, number>> = { alert: 0, stable: 1, too_few: 2 }

function strongestFirst(a: DriftFinding, b: DriftFinding): number {
  const byName = `${a.model}@${a.version} ${a.feature}` < `${b.model}@${b.version} ${b.feature}` ? -1 : 1
  return VERDICT_ORDER[a.verdict] - VERDICT_ORDER[b.verdict] || excess(b) - excess(a) || byName
}

function excess(finding: DriftFinding): number {
  return finding.psi / Math.max(finding.psiBand.p99, 1e-9)
}
