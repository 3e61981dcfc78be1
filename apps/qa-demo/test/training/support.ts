import { type ConformanceOptions, describeConformance, trainingCases } from '@topk-attention/conformance';
import { adafactor, adam, adamW, sgd } from '@topk-attention/nn';

/** Losses and parameters after 20 steps on a backend (or 5, where it is slow), against PyTorch in float64. */
export async function testTraining(options: ConformanceOptions, steps: 5 | 20 = 20): Promise<void> {
  const cases = await trainingCases({ adafactor, adam, adamW, sgd }, { steps });
  await describeConformance({ ...options, cases });
}
