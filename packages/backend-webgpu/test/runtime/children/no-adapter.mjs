// Started where no driver can be found.
import { createWebGpuBackend, doctor } from '@topk-attention/webgpu';

const error = await createWebGpuBackend().catch((one) => one);
const { ok, problems, provider } = await doctor();
console.log(JSON.stringify({ code: error.code, fix: error.fix, ok, problems, provider }));
