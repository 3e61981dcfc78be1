import { registeredEngines } from '../engine/engine.js';
import type { Tf } from '../tf.js';
import { type DoctorProblem, warning } from './problems.js';

/** What the running engine computes on. tf has no common way to ask, so each engine's own fields are read. */
export interface DeviceReport {
  readonly kind: 'cpu' | 'gpu';
  /** In words: `CPU, TensorFlow 2.9.1`, `nvidia hopper`, a WebGL renderer, ... */
  readonly description: string;
  /** True for a GPU emulated by the CPU. Absent if that is unknown. */
  readonly isSoftware?: boolean;
  /** What else the engine reports: SIMD and threads, limits, texture types, versions. */
  readonly facts: Readonly<Record<string, string | number | boolean>>;
}

interface Finding {
  readonly device: DeviceReport;
  readonly problems: readonly DoctorProblem[];
}

/** By tf's name for the engine; `own` is tf's object for it. */
const examinations: Readonly<Partial<Record<string, (tf: Tf, own: unknown) => Finding | Promise<Finding>>>> =
  {
    cpu: cpuDevice,
    wasm: wasmDevice,
    webgl: webGlDevice,
    webgpu: webGpuDevice,
    tensorflow: tensorflowDevice,
  };

/** The device of the running engine, and what is worth knowing about it. */
export async function examineDevice(tf: Tf, engine: string): Promise<Finding> {
  const examine = examinations[engine];
  if (examine !== undefined) return examine(tf, tf.backend());
  return {
    device: { kind: 'cpu', description: `engine '${engine}', unknown here`, facts: {} },
    problems: [],
  };
}

function cpuDevice(tf: Tf): Finding {
  const others = registeredEngines(tf).filter((name) => name !== tf.getBackend());
  const rest = others.length > 0 ? `; also registered: ${others.join(', ')}` : '';
  const slow = warning(
    'SLOW_ENGINE',
    `the engine 'cpu' computes in plain JavaScript, the slowest of all${rest}`,
    "Import '@tensorflow/tfjs-backend-wasm' or '@tensorflow/tfjs-backend-webgpu' and await tf.setBackend(...), or use tfjs-node",
  );
  return {
    device: { kind: 'cpu', description: 'CPU, plain JavaScript', facts: {} },
    problems: [slow],
  };
}

function tensorflowDevice(_tf: Tf, own: unknown): Finding {
  const onGpu = property(own, 'isUsingGpuDevice') === true;
  const isGpuPackage = property(own, 'isGPUPackage') === true;
  const version = property(property(own, 'binding'), 'TF_Version');
  const library = typeof version === 'string' ? `TensorFlow ${version}` : 'TensorFlow';
  const device: DeviceReport = {
    kind: onGpu ? 'gpu' : 'cpu',
    description: `${onGpu ? 'GPU (CUDA)' : 'CPU'}, ${library}`,
    facts: {
      package: isGpuPackage ? 'tfjs-node-gpu' : 'tfjs-node',
      ...(typeof version === 'string' && { tensorflow: version }),
    },
  };
  const problems =
    isGpuPackage && !onGpu
      ? [
          warning(
            'NO_CUDA',
            'tfjs-node-gpu found no GPU that it can use, so it computes on the CPU',
            'tfjs-node-gpu 4.22 wants CUDA 11.x (built for 11.2) and cuDNN 8.x (8.1) on the library path: docs/cuda.md says how, and what to use instead',
          ),
        ]
      : [];
  return { device, problems };
}

async function wasmDevice(tf: Tf, own: unknown): Promise<Finding> {
  const simd = (await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT')) === true;
  const canThread = (await tf.env().getAsync('WASM_HAS_MULTITHREAD_SUPPORT')) === true;
  const threads = canThread ? threadsOf(own) : 1;
  const problems: DoctorProblem[] = [];
  if (!simd) {
    problems.push(
      warning('NO_SIMD', 'this JavaScript engine has no WebAssembly SIMD', 'Use a newer browser or Node'),
    );
  }
  // Not in Node, where tf never starts threads and nothing can be done about it.
  if (threads === 1 && property(globalThis, 'crossOriginIsolated') === false) {
    problems.push(
      warning(
        'ONE_THREAD',
        'the page is not cross-origin isolated, so WebAssembly runs in one thread',
        'Serve it with the headers Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp',
      ),
    );
  }
  const description = `CPU, WebAssembly ${simd ? 'with' : 'without'} SIMD, ${threads} thread${threads === 1 ? '' : 's'}`;
  return { device: { kind: 'cpu', description, facts: { simd, threads } }, problems };
}

function threadsOf(own: unknown): number {
  const library = property(property(own, 'wasm'), 'tfjs');
  const count = property(library, 'getThreadsCount');
  const threads: unknown = typeof count === 'function' ? Reflect.apply(count, library, []) : 1;
  return typeof threads === 'number' ? threads : 1;
}

const softwareNames = /swiftshader|llvmpipe|lavapipe|softpipe|basic render|software/i;

function webGpuDevice(_tf: Tf, own: unknown): Finding {
  const device = property(own, 'device');
  const infos = [property(device, 'adapterInfo'), property(own, 'adapterInfo')];
  const words = ['vendor', 'architecture', 'device', 'description'].map((name) =>
    infos.map((info) => property(info, name)).find((value) => typeof value === 'string' && value !== ''),
  );
  const description = [...new Set(words.filter((word) => word !== undefined))].join(' ') || 'WebGPU';
  const limits = property(device, 'limits');
  const facts: Record<string, number> = {};
  for (const name of ['maxBufferSize', 'maxStorageBufferBindingSize']) {
    const limit = property(limits, name);
    if (typeof limit === 'number') facts[name] = limit;
  }
  return gpu(description, facts);
}

function webGlDevice(tf: Tf, own: unknown): Finding {
  const env = tf.env();
  const facts = {
    webglVersion: env.getNumber('WEBGL_VERSION'),
    float32Textures: env.getBool('WEBGL_RENDER_FLOAT32_ENABLED'),
    maxTextureSize: env.getNumber('WEBGL_MAX_TEXTURE_SIZE'),
  };
  const { device, problems } = gpu(rendererOf(property(property(own, 'gpgpu'), 'gl')), facts);
  if (facts.float32Textures) return { device, problems };
  const half = warning(
    'HALF_FLOAT_TEXTURES',
    'textures hold 16-bit floats here: scores are rounded to 11 bits and overflow at 65,504, so different keys may be kept',
    "Use the engine 'webgpu' or 'wasm' on this device",
  );
  return { device, problems: [...problems, half] };
}

const UNMASKED_RENDERER = 0x9246;
const RENDERER = 0x1f01;

function rendererOf(gl: unknown): string {
  const get = property(gl, 'getParameter');
  const extension = property(gl, 'getExtension');
  if (typeof get !== 'function' || typeof extension !== 'function') return 'WebGL';
  const isOpen = Boolean(Reflect.apply(extension, gl, ['WEBGL_debug_renderer_info']));
  const name: unknown = Reflect.apply(get, gl, [isOpen ? UNMASKED_RENDERER : RENDERER]);
  return typeof name === 'string' && name !== '' ? name : 'WebGL';
}

function gpu(description: string, facts: DeviceReport['facts']): Finding {
  const isSoftware = softwareNames.test(description);
  const problems = isSoftware
    ? [
        warning(
          'SOFTWARE_GPU',
          `${description}: this GPU is emulated by the CPU; results are correct, but slow`,
          "Install a GPU driver, or use the engine 'wasm'",
        ),
      ]
    : [];
  return { device: { kind: 'gpu', description, isSoftware, facts }, problems };
}

/** A field of something whose type tfjs does not publish. */
function property(value: unknown, name: string): unknown {
  return (typeof value === 'object' && value !== null) || typeof value === 'function'
    ? Reflect.get(value, name)
    : undefined;
}
