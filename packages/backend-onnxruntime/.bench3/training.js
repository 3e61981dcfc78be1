// `pnpm bench training --backend onnxruntime`: whole training steps on the CPU, next to torch.
import { benchTraining } from '@topk-attention/bench-kit';
import { createOnnxRuntimeBackend } from '@topk-attention/onnxruntime';
import ort from 'onnxruntime-node';
process.exit(await benchTraining('onnxruntime', ['cpu'], async (_engine, threads) => ({
    backend: await createOnnxRuntimeBackend({ ort, threads }),
    description: `onnxruntime-node ${ort.env.versions.node}, ${threads} threads`,
})));
//# sourceMappingURL=training.js.map