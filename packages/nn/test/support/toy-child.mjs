// Trains into the folder of its argument, from the newest checkpoint there, and says so after each step.
import { adamW, dataLoader, folderStore, oneCycleSchedule, train } from '@topk-attention/nn';
import { points, toyRun } from './toy-run.mjs';

const { parameters, collate, loss } = toyRun();
const maxSteps = 60;
await train({
  parameters,
  loss,
  data: dataLoader(points, { batchSize: 8, collate, shuffle: true, seed: 1 }),
  optimizer: adamW({ learningRate: 0.05 }),
  schedule: oneCycleSchedule({ totalSteps: maxSteps }),
  maxSteps,
  maxGradNorm: 1,
  gradientAccumulationSteps: 2,
  averageDecay: 0.9,
  checkpoints: folderStore(process.argv[2]),
  saveSteps: 5,
  saveTotalLimit: 2,
  resume: true,
  onProgress: (done) => process.stdout.write(`${done}\n`),
});
