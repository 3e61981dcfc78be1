import { aValue, type OptionKinds, readOptions } from '@topk-attention/core';
import { finiteDifferenceCases } from './attention/finite-differences.js';
import { attentionOracleCases } from './attention/oracle-cases.js';
import { attentionRules } from './attention/rules.js';
import { badInputCases } from './bad-input.js';
import type { ConformanceCase } from './case.js';
import { composedCases } from './composed.js';
import { feedForwardOracleCases } from './feed-forward/oracle-cases.js';
import { feedForwardRules } from './feed-forward/rules.js';
import { goldenCases } from './goldens/cases.js';
import { loadGoldens } from './goldens/load.js';
import { halfPrecisionCases } from './half-precision.js';
import { lifecycleCases } from './lifecycle/cases.js';
import { opGradientCases } from './op-gradients.js';
import { planningCases } from './planning.js';
import { elementwiseCases } from './primitives/elementwise.js';
import { layoutCases } from './primitives/layout.js';
import { matmulCases } from './primitives/matmul.js';
import { memoryCases } from './primitives/memory.js';
import { outsideCases } from './primitives/outside.js';
import { randomBitsCases } from './primitives/random-bits.js';
import { reductionCases } from './primitives/reductions.js';
import { selectionCases } from './primitives/selection.js';
import { propertyCases } from './properties/cases.js';
import { trapCases } from './traps.js';
import { zeroExtentCases } from './zero-extents.js';

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
    ...elementwiseCases,
    ...reductionCases,
    ...matmulCases,
    ...selectionCases,
    ...outsideCases,
    ...zeroExtentCases,
    ...randomBitsCases,
    ...composedCases,
    ...trapCases,
    ...goldenCases(await loadGoldens(goldens)),
    ...attentionOracleCases,
    ...attentionRules,
    ...feedForwardOracleCases,
    ...feedForwardRules,
    ...propertyCases,
    ...halfPrecisionCases,
    ...opGradientCases,
    ...finiteDifferenceCases,
    ...badInputCases,
    ...lifecycleCases,
    ...planningCases,
  ];
}
