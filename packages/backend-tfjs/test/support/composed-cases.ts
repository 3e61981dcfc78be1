import { type ConformanceCase, conformanceCases, type Group } from '@topk-attention/conformance';

const groups: readonly Group[] = [
  'goldens',
  'attention',
  'feed-forward',
  'gradients',
  'lifecycle',
  'planning',
];

/**
 * What is run again with nothing fused: the primitives are the same then, and counted bytes are those of what core
 * composes.
 */
export async function composedCases(): Promise<readonly ConformanceCase[]> {
  return (await conformanceCases()).filter(({ group }) => groups.includes(group));
}
