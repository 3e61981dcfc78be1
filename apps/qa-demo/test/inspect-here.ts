import { ReportedError, reportOf } from '@topk-attention/app-kit';
import { inspectModel } from '../src/engine/inspect-model.js';
import type { InspectContract, InspectResult } from '../src/engine/inspect-protocol.js';

/** Stands in for the function of src, as `EngineChild` of engine-here.ts does: the same work, in the process of the test. */
export async function inspectInChild(
  argument: InspectContract['inspect']['argument'],
): Promise<InspectResult> {
  try {
    return JSON.parse(JSON.stringify(await inspectModel(argument, () => {})));
  } catch (error) {
    throw new ReportedError(reportOf(error));
  }
}
