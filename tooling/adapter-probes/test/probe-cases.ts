import { type ConformanceCase, conformanceCases } from '@topk-attention/conformance';

/** Cases of the suite that need nothing but what the probes implement. */
const about =
  /^(upload|read returns|fill|memory\(\)|a view keeps|matmul|topK|takeAlong|putAlong|gatherRows|scatterAddRows|trap: (scatterAddRows|topK|batched matmul|index -1|all indices))/;

/** What the interface is judged by, and how many cases of each there were at least when it was. */
export const required = { matmul: 44, topK: 20, gatherRows: 4, scatterAddRows: 5 } as const;

export async function probeCases(): Promise<readonly ConformanceCase[]> {
  const onPrimitives = (await conformanceCases()).filter(
    ({ group }) => group === 'primitives' || group === 'engine traps',
  );
  return onPrimitives.filter(({ name }) => about.test(name));
}
