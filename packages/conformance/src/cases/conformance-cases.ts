import { aValue, type OptionKinds, readOptions } from '@topk-attention/core';
import type { ConformanceCase } from '../harness/case.js';
import { fewQueryCases } from './attention/few-queries.js';
import { graphAttentionCases } from './attention/graph/cases.js';
import { attentionHalfCases } from './attention/half-precision.js';
import { hiddenKeyCases } from './attention/hidden-keys.js';
import { linearAttentionCases } from './attention/linear/cases.js';
import { attentionOracleCases } from './attention/oracle-cases.js';
import { overflowCases } from './attention/overflow.js';
import { queryStartCases } from './attention/query-start.js';
import { attentionRules } from './attention/rules.js';
import { sigmoidCases } from './attention/sigmoid.js';
import { toeplitzProductCases } from './attention/toeplitz/cases.js';
import { badInputCases } from './bad-input/cases.js';
import { graphAndLinearBadInputCases } from './bad-input/graph-and-linear.js';
import { toeplitzBadInputCases } from './bad-input/toeplitz.js';
import { trapCases } from './engine-traps/traps.js';
import { feedForwardHalfCases } from './feed-forward/half-precision.js';
import { feedForwardOracleCases } from './feed-forward/oracle-cases.js';
import { feedForwardRules } from './feed-forward/rules.js';
import { goldenCases } from './goldens/cases.js';
import { loadGoldens } from './goldens/load.js';
import { finiteDifferenceCases } from './gradients/finite-differences.js';
import { graphAndLinearDifferenceCases } from './gradients/graph-and-linear.js';
import { opGradientCases } from './gradients/ops.js';
import { lifecycleCases } from './lifecycle/cases.js';
import { recomputeCases } from './lifecycle/recompute.js';
import { recordedStepCases } from './lifecycle/recorded-steps.js';
import { planningCases } from './planning/cases.js';
import { zeroExtentPlanCase } from './planning/zero-extents.js';
import { composedCases } from './primitives/composed.js';
import { crossEntropyCases } from './primitives/cross-entropies.js';
import { dropoutCases } from './primitives/dropout.js';
import { elementwiseCases } from './primitives/elementwise.js';
import { elementwiseListCases } from './primitives/elementwise-lists.js';
import { elementwiseProgramCases } from './primitives/elementwise-programs.js';
import { halfProductCases } from './primitives/half-products.js';
import { halfFunctionCases } from './primitives/halves.js';
import { layoutCases } from './primitives/layout.js';
import { linearCases } from './primitives/linear.js';
import { matmulCases } from './primitives/matmul.js';
import { memoryCases } from './primitives/memory.js';
import { normCases } from './primitives/norms.js';
import { outsideCases } from './primitives/outside.js';
import { randomBitsCases } from './primitives/random-bits.js';
import { reductionCases } from './primitives/reductions.js';
import { selectionCases } from './primitives/selection.js';
import { sumSquaresCases } from './primitives/sum-squares.js';
import { tableGradientCases } from './primitives/table-gradients.js';
import { writeAtCases } from './primitives/write-at.js';
import { zeroExtentCases } from './primitives/zero-extents.js';
import { propertyCases } from './properties/cases.js';

export interface CaseOptions {
  /** Folder of the golden files, with a slash at the end. Default: this package's own. */
  readonly goldens?: URL;
}

const kinds: OptionKinds<CaseOptions> = { goldens: aValue('a URL', (value) => value instanceof URL) };

/** Every case, in the order in which a new backend meets them. Reads the golden values once. */
export async function conformanceCases(options?: CaseOptions): Promise<readonly ConformanceCase[]> {
  const { goldens } = readOptions('conformanceCases', options, kinds);
  return [
    ...memoryCases,
    ...layoutCases,
    ...writeAtCases,
    ...elementwiseCases,
    ...reductionCases,
    ...matmulCases,
    ...selectionCases,
    ...outsideCases,
    ...zeroExtentCases,
    ...randomBitsCases,
    ...composedCases,
    ...elementwiseProgramCases,
    ...elementwiseListCases,
    ...sumSquaresCases,
    ...tableGradientCases,
    ...normCases,
    ...crossEntropyCases,
    ...halfFunctionCases,
    ...halfProductCases,
    ...linearCases,
    ...dropoutCases,
    ...trapCases,
    ...goldenCases(await loadGoldens(goldens)),
    ...attentionOracleCases,
    ...attentionRules,
    ...hiddenKeyCases,
    ...queryStartCases,
    ...fewQueryCases,
    ...overflowCases,
    ...sigmoidCases,
    ...graphAttentionCases,
    ...linearAttentionCases,
    ...toeplitzProductCases,
    ...feedForwardOracleCases,
    ...feedForwardRules,
    ...propertyCases,
    ...attentionHalfCases,
    ...feedForwardHalfCases,
    ...opGradientCases,
    ...finiteDifferenceCases,
    ...graphAndLinearDifferenceCases,
    ...badInputCases,
    ...graphAndLinearBadInputCases,
    ...toeplitzBadInputCases,
    ...lifecycleCases,
    ...recordedStepCases,
    ...recomputeCases,
    ...planningCases,
    zeroExtentPlanCase,
  ];
}
