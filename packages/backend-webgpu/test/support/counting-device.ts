/** What work asked of a device. */
export interface DeviceCounts {
  launches: number;
  passes: number;
  submissions: number;
}

/** Limits and features of an H200 under Dawn, where they differ from the defaults. */
const LIMITS = {
  maxBufferSize: 2 ** 33,
  maxStorageBufferBindingSize: 2 ** 32 - 4,
  maxComputeWorkgroupStorageSize: 49_152,
  maxComputeInvocationsPerWorkgroup: 1024,
  maxStorageBuffersPerShaderStage: 16,
  maxComputeWorkgroupSizeX: 1024,
};

/** A large GPU that runs nothing and counts: buffers are without storage, and every pipeline compiles. */
export function countingDevice(): { readonly device: GPUDevice; readonly counts: DeviceCounts } {
  const counts: DeviceCounts = { launches: 0, passes: 0, submissions: 0 };
  const nothing = (): void => {};
  const dispatch = (): void => {
    counts.launches++;
  };
  const pass = {
    ...{ setPipeline: nothing, setBindGroup: nothing, end: nothing },
    ...{ dispatchWorkgroups: dispatch, dispatchWorkgroupsIndirect: dispatch },
  };
  const encoder = {
    ...{ clearBuffer: nothing, copyBufferToBuffer: nothing, finish: () => ({}) },
    beginComputePass() {
      counts.passes++;
      return pass;
    },
  };
  const device = {
    limits: LIMITS,
    features: new Set(['subgroups']),
    adapterInfo: {
      ...{ vendor: 'nvidia', architecture: 'hopper', device: '', description: 'counts only' },
      ...{ subgroupMinSize: 32, subgroupMaxSize: 32, isFallbackAdapter: false },
    },
    lost: new Promise(nothing),
    queue: {
      submit: () => {
        counts.submissions++;
      },
      writeBuffer: nothing,
      onSubmittedWorkDone: () => Promise.resolve(),
    },
    createBuffer: ({ size, usage }: GPUBufferDescriptor) => ({ size, usage, destroy: nothing }),
    createBindGroup: () => ({}),
    createBindGroupLayout: () => ({}),
    createPipelineLayout: () => ({}),
    createShaderModule: () => ({}),
    createComputePipelineAsync: () => Promise.resolve({}),
    createCommandEncoder: () => encoder,
    pushErrorScope: nothing,
    popErrorScope: () => Promise.resolve(null),
    destroy: nothing,
  };
  return { device: device as object as GPUDevice, counts };
}
