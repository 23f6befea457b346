// SPDX-License-Identifier: Apache-2.0
#include "vmm/cli/run.h"

#include <fmt/core.h>
#include <malloc.h>
#include <unistd.h>

#include <cstdio>

#include "vmm/backends.h"
#include "vmm/cli/cloud_init_option.h"
#include "vmm/cli/command_line.h"
#include "vmm/cli/config_file.h"
#include "vmm/cli/console_tee.h"
#include "vmm/cli/cpu_option.h"
#include "vmm/cli/disk_option.h"
#include "vmm/cli/dry_run.h"
#include "vmm/cli/memory_option.h"
#include "vmm/cli/net_option.h"
#include "vmm/cli/reboot.h"
#include "vmm/cli/root_watch.h"
#include "vmm/cli/session.h"
#include "vmm/cli/share_option.h"
#include "vmm/cli/vsock_option.h"
#include "vmm/cloud_init.h"
#include "vmm/control/directory.h"
#include "vmm/control/listener.h"
#include "vmm/control/server.h"
#include "vmm/control_target.h"
#include "vmm/core/log.h"
#include "vmm/default_kernel.h"
#include "vmm/disk_kernel.h"
#include "vmm/luggage.h"
#include "vmm/machine.h"
#include "vmm/version.h"
#include "vmm/vsock_connector.h"

namespace vmm::cli {
namespace {

constexpr const char* kFooter =
    "Exit status: 0 the guest powered off; 1 an error; 2 wrong usage; 3 the guest asked for a "
    "reboot\n(with --no-reboot); 4 the guest crashed (triple fault); 5 ended with Ctrl-a x or by "
    "'vmm stop\n--force'; 6 its kernel panicked (pvpanic); 128 + N ended by signal N.\n\nKeys: "
    "Ctrl-a x ends the VM, Ctrl-a ? helps, Ctrl-a a sends Ctrl-a.";

// The flags as they stand on the command line.
struct RunFlags {
  std::string kernel, boot, initrd, params, memory = "512M", name, console = "serial", net = "none",
                                            log_level = "warn";
  std::uint32_t nr_cpus = 1;
  std::size_t nr_bays = 0;
  std::string cpu = "host", pin;
  bool huge_pages = false, balloon = false, rng = true, no_reboot = false;
  std::string virtio_transport = "pci", dump_dtb;
  bool acpi = true;
  std::optional<std::uint16_t> debug_exit;
  std::vector<std::string> disks, shares;
  std::string vsock;
  std::string cloud_init, config;
  bool print_config = false, dry_run = false;
  bool no_sandbox = false;
  sandbox::SandboxConfig sandbox;
};

void add_sandbox_options(CommandLine& app, RunFlags& flags) {
  app.add_flag(
      "--no-sandbox", flags.no_sandbox,
      "For debugging: leave this process all its rights (a guest that breaks out has them)");
  app.add_flag("--jail", flags.sandbox.jail,
               "Own namespaces and an empty root directory (root only)");
  app.add_option("--chroot", flags.sandbox.chroot,
                 "Root directory once all files are open (root only)")
      ->type_name("DIR")
      ->existing_directory();
  app.add_option("--uid", flags.sandbox.uid, "User id once all files are open (root only)")
      ->type_name("N");
  app.add_option("--gid", flags.sandbox.gid, "Group id once all files are open (root only)")
      ->type_name("N");
}

void add_config_options(CommandLine& app, RunFlags& flags) {
  app.add_option(
         "--config", flags.config,
         "A JSON file that says what flags say, {\"mem\": \"2G\", \"disk\": [...]}; flags on "
         "the command line override it, --disk adds to it")
      ->type_name("FILE");
  app.add_flag("--print-config", flags.print_config,
               "Start nothing; print the flags and defaults as such a file");
  app.add_flag("--dry-run", flags.dry_run,
               "Start nothing; check all that can be checked before a start, with status 0 or 1");
}

void add_options(CommandLine& app, RunFlags& flags) {
  app.add_option(
         "-k,--kernel", flags.kernel,
         "Kernel: a bzImage (vmlinuz) or an ELF vmlinux with PVH; without it the disk's own, "
         "else the running host's, or the newest, from /boot")
      ->type_name("FILE");
  app.add_option("--boot", flags.boot,
                 "Which of the disk's own entries to boot: its number, id or title; \"list\" shows "
                 "them")
      ->type_name("list|ENTRY");
  app.add_option("-i,--initrd", flags.initrd, "Initial RAM disk")->type_name("FILE");
  app.add_option("-p,--params", flags.params,
                 "Kernel command line; console= and root= are added where they are missing")
      ->type_name("TEXT");
  app.add_option("-d,--disk", flags.disks,
                 "Disk image, as often as you like: the guest sees vda, vdb, ... A raw image that "
                 "the guest can write should say format=raw")
      ->type_name("FILE[,ro][,snapshot][,format=raw|qcow2][,cache=MODE][,...]")
      ->allow_extra_args(false);
  app.add_option("--cloud-init", flags.cloud_init,
                 "Files for cloud-init in the guest, which finds them on a last, read-only disk; "
                 "without META-DATA one with the machine's name")
      ->type_name("USER-DATA[,META-DATA]");
  app.add_option("-m,--mem", flags.memory,
                 "Guest memory in MiB, or with a suffix K, M, G; shared: other processes can map "
                 "it; file=: it begins as that file, and with shared is that file")
      ->type_name("SIZE[,shared][,file=FILE]")
      ->capture_default_str();
  app.add_flag("--hugepages", flags.huge_pages,
               "Guest memory from the 2 MiB pages that the host has reserved (sysctl "
               "vm.nr_hugepages), or fail; otherwise transparent ones are used");
  app.add_option("-c,--cpus", flags.nr_cpus, "Virtual processors")
      ->type_name("N")
      ->in_range(1u, MachineConfig::kMaxCpus)
      ->capture_default_str();
  app.add_option("--cpu", flags.cpu,
                 "What the processors can do: what the host's can, less features by their names in "
                 "/proc/cpuinfo")
      ->type_name("host[,-FLAG]...")
      ->capture_default_str();
  app.add_option("--pin", flags.pin,
                 "Processors of the host, as 0,2-3, one for each virtual one, which runs nowhere "
                 "else")
      ->type_name("CPUS");
  app.add_option(
         "--name", flags.name,
         "Name of the virtual machine, for 'vmm list', 'stop' and the like; default: guest-PID")
      ->type_name("NAME");
  app.add_option(
         "--console", flags.console,
         "What the guest's console is: its serial port (ttyS0), or virtio (hvc0), which is faster")
      ->one_of({"serial", "virtio"})
      ->capture_default_str();
  app.add_option("-n,--net", flags.net,
                 "Network: user (passt carries the guest's connections; tcp= and udp= lead ports "
                 "of this host to the guest), or a tap device of the host; mac= sets the guest's "
                 "address")
      ->type_name("none|user[,tcp=PORT[:PORT]][,socket=FILE]|tap[=NAME][,mac=MAC]")
      ->capture_default_str();
  app.add_option(
         "--share", flags.shares,
         "A directory that the guest can mount (mount -t virtiofs TAG /mnt), as often as you "
         "like; virtiofsd serves it, in memory that it shares with the guest. Without TAG: "
         "the directory's name")
      ->type_name("DIR[,TAG]")
      ->allow_extra_args(false);
  app.add_option(
         "--vsock", flags.vsock,
         "Stream sockets between guest and host (virtio-vsock): programs of this host reach "
         "port N of the guest through the Unix socket PATH, by \"CONNECT N\"; port N of CID 2 "
         "leads the guest to the one that listens at PATH_N. With vhost the host's kernel connects "
         "them, by AF_VSOCK and the guest's CID")
      ->type_name("PATH|vhost[,cid=N]");
  app.add_flag("--rng,!--no-rng", flags.rng,
               "Give the guest random numbers (virtio-rng); the default")
      ->default_str("true");
  app.add_option(
         "--virtio-transport", flags.virtio_transport,
         "Where the guest finds its devices: on the PCI bus, or as virtio-mmio, for kernels "
         "without PCI")
      ->one_of({"pci", "mmio"})
      ->capture_default_str();
  app.add_flag("--acpi,!--no-acpi", flags.acpi,
               "Describe the machine in ACPI tables, the default; without them in MP tables and a "
               "device tree (SETUP_DTB), and the guest cannot power off")
      ->default_str("true");
  app.add_option("--dump-dtb", flags.dump_dtb,
                 "Start nothing; write the device tree of the machine to this file")
      ->type_name("FILE");
  app.add_option("--bays", flags.nr_bays,
                 "Places for disks that 'vmm attach' brings while the machine runs, up to 8")
      ->type_name("N")
      ->capture_default_str();
  app.add_flag("--balloon", flags.balloon,
               "Let the guest give memory back, when 'vmm balloon' asks for it and whenever it has "
               "free pages (virtio-balloon)");
  app.add_flag("--no-reboot", flags.no_reboot,
               "End, with status 3, where the guest asks for a reboot");
  app.add_option("--debug-exit", flags.debug_exit,
                 "A port, say 0x501: what the guest writes there is the exit status")
      ->type_name("PORT");
  app.add_option("--loglevel", flags.log_level, "What to tell on stderr")
      ->one_of({"debug", "info", "warn", "error"})
      ->capture_default_str();
  add_config_options(app, flags);
  add_sandbox_options(app, flags);
  app.footer(kFooter);
}

log::Level to_level(std::string_view text) {
  if (text == "debug") return log::Level::kDebug;
  if (text == "info") return log::Level::kInfo;
  if (text == "error") return log::Level::kError;
  return log::Level::kWarning;
}

Result<MachineConfig> to_config(const RunFlags& flags) {
  MachineConfig config;
  config.name = flags.name.empty() ? fmt::format("guest-{}", ::getpid()) : flags.name;
  config.kernel = flags.kernel;
  config.initrd = flags.initrd;
  config.params = flags.params;
  config.nr_cpus = flags.nr_cpus;
  VMM_TRY(config.hidden_cpu_flags, parse_cpu_option(flags.cpu));
  VMM_TRY(config.pinned_to, parse_pin_option(flags.pin, flags.nr_cpus));
  config.huge_pages = flags.huge_pages;
  config.rng = flags.rng;
  config.balloon = flags.balloon;
  config.nr_bays = flags.nr_bays;
  if (flags.nr_bays > MachineConfig::kMaxBays) {
    return fail(ErrorKind::kInvalid,
                fmt::format("--bays: {} are more than {}", flags.nr_bays, MachineConfig::kMaxBays));
  }
  if (flags.balloon && flags.huge_pages) {
    return fail(ErrorKind::kInvalid,
                "--balloon: reserved huge pages (--hugepages) are not given back; use one or the "
                "other");
  }
  config.debug_exit_port = flags.debug_exit;
  config.acpi = flags.acpi;
  if (flags.virtio_transport == "mmio") {
    config.virtio_transport = MachineConfig::VirtioTransport::kMmio;
  }
  if (flags.console == "virtio") config.console = MachineConfig::Console::kVirtio;
  // Whatever process runs the guest, this one hands the signal on.
  config.retry_hint = fmt::format("kill -USR1 {}", ::getpid());
  VMM_TRY(config.net, parse_net_option(flags.net, config.name));
  config.sandbox = flags.sandbox;
  config.sandbox.enabled = !flags.no_sandbox;
  VMM_CHECK(sandbox::check(config.sandbox));
  VMM_CHECK(parse_memory_option(flags.memory, config));
  VMM_TRY(config.vsock, parse_vsock_option(flags.vsock));
  VMM_TRY(config.shares, parse_share_options(flags.shares));
  if (!config.shares.empty()) config.memory_shared = true;
  const std::size_t nr_disks =
      flags.disks.size() + (flags.cloud_init.empty() ? 0 : 1) + flags.nr_bays;
  if (nr_disks > MachineConfig::kMaxDisks) {
    return fail(ErrorKind::kInvalid,
                fmt::format("--disk: {} disks and bays are too many, {} is the limit", nr_disks,
                            MachineConfig::kMaxDisks));
  }
  for (const std::string& text : flags.disks) {
    VMM_TRY(disk::DiskOptions disk, parse_disk_option(text));
    config.disks.push_back(std::move(disk));
  }
  if (!flags.kernel.empty() && !flags.boot.empty()) {
    return fail(ErrorKind::kInvalid,
                "--boot picks one of the disk's own kernels and cannot be used with --kernel");
  }
  return config;
}

// Puts a kernel into `config`, whose user gave none: a disk's own, which is returned and must stay,
// else the host's.
Result<std::optional<bootfind::BootChoice>> choose_kernel(const std::string& entry,
                                                          MachineConfig& config) {
  std::vector<std::string> looked_at;
  VMM_TRY(std::optional<bootfind::BootChoice> own,
          find_disk_kernel(config.disks, entry, looked_at));
  if (own) {
    use_disk_kernel(*own, config);
    log::info("booting {}", own->description);
    return own;
  }
  if (!entry.empty()) {
    return fail(ErrorKind::kInvalid, looked_at.empty()
                                         ? "--boot: no disk is given (-d)"
                                         : fmt::format("--boot: {}", looked_at.front()));
  }
  for (const std::string& line : looked_at) log::info("{}", line);
  VMM_TRY(config.kernel, find_default_kernel());
  log::warn("no --kernel given{}, booting {}",
            config.disks.empty() ? "" : " and none found on the disk", config.kernel);
  return own;
}

int exit_status(const Outcome& outcome, const Session::End& end) {
  switch (outcome.kind) {
    case Outcome::Kind::kPowerOff:
      return kExitSuccess;
    case Outcome::Kind::kReboot:
      return kExitReboot;
    case Outcome::Kind::kGuestCrash:
      return kExitGuestCrash;
    case Outcome::Kind::kGuestPanic:
      return kExitGuestPanic;
    case Outcome::Kind::kGuestExit:
      return outcome.status;
    case Outcome::Kind::kFailure:
      return kExitFailure;
    case Outcome::Kind::kStopped:
      break;
  }
  return end.signal != 0 ? 128 + end.signal : kExitByUser;
}

// An error about a file that came from the disk says so, and not by which descriptor it is read.
Error name_own_kernel(Error error, const std::optional<bootfind::BootChoice>& own,
                      const MachineConfig& config) {
  if (!own) return error;
  const std::string kernel = "--kernel " + config.kernel, initrd = "--initrd " + config.initrd;
  const std::string& message = error.message();
  auto rename = [&](const char* what, const std::string& prefix) {
    return Error(error.kind(), fmt::format("the disk's own {} {}{}", what, own->description,
                                           message.substr(prefix.size())));
  };
  if (message.starts_with(kernel)) return rename("kernel", kernel);
  if (message.starts_with(initrd) && own->initrd) return rename("initrd of", initrd);
  return error;
}

// The machine's control socket, if it can have one. Without --name it can do without.
Result<std::optional<control::Listener>> make_listener(const std::string& name, bool must_have) {
  Result<control::Listener> listener =
      control::Listener::create(control::directories().front(), name);
  if (listener) {
    VMM_CHECK(listener->remove_at_end());
    return std::optional(std::move(*listener));
  }
  if (must_have) return Unexpected(std::move(listener).error().with_context("--name"));
  log::info("no control socket: {}", listener.error().message());
  return std::optional<control::Listener>();
}

// What is there for all boots of a machine.
struct Standing {
  int listen_fd = -1;  // of the control socket; -1: none
  std::optional<Luggage> luggage;
};

// The disks that were attached when the guest asked for this boot. One that cannot be used any more
// is told of, and its bay is empty.
void attach_again(Luggage& luggage, Machine& machine) {
  for (Luggage::Piece& piece : luggage.take()) {
    const std::string option = piece.disk.option;
    Result<disk::DiskOptions> options = parse_disk_option(option);
    Result<void> done =
        !options ? Unexpected(std::move(options).error())
                 : machine.attach_again(piece.index, *std::move(options), std::move(piece.disk));
    if (!done) log::error("{}: not attached any more: {}", option, done.error().message());
  }
}

Result<BootEnd> run_machine(const MachineConfig& config, Standing& standing) {
  // One arena for all threads: before another one shrinks, glibc opens a file in /proc, which the
  // sandbox forbids.
  ::mallopt(M_ARENA_MAX, 1);
  // Outside the sandbox and its namespaces, where the host's network is.
  VMM_TRY(Backends backends, open_backends(config));
  VMM_CHECK(sandbox::enter(config.sandbox));
  VMM_TRY(std::unique_ptr<Session> session, Session::create(STDIN_FILENO, STDOUT_FILENO));
  const Machine* running = nullptr;
  control::ConsoleLog console_log;
  ConsoleTee tee(console_log, session->output());
  RootWatch console(
      tee, [&] { log::warn("{}", explain_no_root(running->nr_disks(), running->disks_read())); });
  // Outlives the machine, whose console wakes it.
  std::unique_ptr<control::Server> control;
  if (standing.listen_fd >= 0) {
    VMM_TRY(control, control::Server::create(standing.listen_fd, kVersion, config.name));
  }
  VMM_TRY(std::unique_ptr<Machine> machine, Machine::create(config, console, std::move(backends)));
  running = machine.get();
  if (standing.luggage) attach_again(*standing.luggage, *machine);
  ControlTarget target(*machine, console_log);
  VMM_TRY(Session::End end, session->run(*machine, control.get(), target, config.sandbox));
  // A vCPU that waits for a stopped terminal could not be joined.
  if (end.by_user || end.signal != 0) session->output().abandon();
  Outcome outcome = machine->finish();
  if (standing.luggage && outcome.kind == Outcome::Kind::kReboot) {
    machine->hand_on_disks(*standing.luggage);
  }
  session->drain(end);
  machine.reset();
  session.reset();  // the terminal is itself again before anything more is said
  if (!outcome.message.empty()) fmt::print(stderr, "vmm: {}\n", outcome.message);
  return BootEnd{exit_status(outcome, end), outcome.kind == Outcome::Kind::kReboot};
}

// One boot. The kernel is looked for each time: the guest may have installed another.
Result<BootEnd> run_boot(const std::string& entry, MachineConfig config, Standing& standing) {
  std::optional<bootfind::BootChoice> own;
  if (config.kernel.empty()) {
    VMM_TRY(own, choose_kernel(entry, config));
  }
  Result<BootEnd> end = run_machine(config, standing);
  if (!end) return Unexpected(name_own_kernel(std::move(end).error(), own, config));
  return end;
}

// As run_boot, up to where it would have effects.
Result<int> dry_run(const std::string& entry, MachineConfig config, const std::string& dump_dtb) {
  std::optional<bootfind::BootChoice> own;
  if (config.kernel.empty()) {
    VMM_TRY(own, choose_kernel(entry, config));
  }
  Result<void> checked = check_start(config, dump_dtb);
  if (!checked) return Unexpected(name_own_kernel(std::move(checked).error(), own, config));
  return kExitSuccess;
}

// parse(), with what the file `config` names, where `arguments` name one.
Result<std::optional<int>> parse_with_file(CommandLine& app, const std::string& config,
                                           const Arguments& arguments) {
  if (std::optional<int> status = parse(app, arguments)) return status;
  if (config.empty()) return std::optional<int>();
  Result<std::vector<std::string>> all =
      with_config_file(app, std::string(config), arguments.values);
  if (!all) return Unexpected(std::move(all).error().with_context("--config"));
  std::vector<char*> pointers;
  for (std::string& text : *all) pointers.push_back(text.data());
  return parse(app, {arguments.program, pointers});
}

}  // namespace

Result<int> run_command(const Arguments& arguments) {
  CommandLine app("Runs a virtual machine on this terminal until it powers off.");
  RunFlags flags;
  add_options(app, flags);
  VMM_TRY(const std::optional<int> status, parse_with_file(app, flags.config, arguments));
  if (status) return *status;
  log::set_level(to_level(flags.log_level));
  VMM_TRY(MachineConfig config, to_config(flags));
  if (flags.print_config) {
    VMM_TRY(const std::string text, to_config_file(app));
    fmt::print("{}", text);
    if (!flags.dry_run) return kExitSuccess;
  }
  if (flags.boot == "list") {
    VMM_TRY(std::string list, list_disk_kernels(config.disks));
    fmt::print("{}", list);
    return kExitSuccess;
  }
  UniqueFd seed;
  if (!flags.cloud_init.empty()) {
    Result<UniqueFd> made = make_seed_from_option(flags.cloud_init, flags.name);
    if (!made) return Unexpected(std::move(made).error().with_context("--cloud-init"));
    seed = *std::move(made);
    config.seed = seed_disk(seed);
  }
  if (flags.dry_run || !flags.dump_dtb.empty()) {
    return dry_run(flags.boot, std::move(config), flags.dump_dtb);
  }
  VMM_TRY(const std::optional<control::Listener> listener,
          make_listener(config.name, !flags.name.empty()));
  Standing standing;
  if (listener) standing.listen_fd = listener->fd();
  if (config.nr_bays != 0 && !flags.no_reboot) {
    VMM_TRY(standing.luggage, Luggage::create());
  }
  std::optional<SocketFile> vsock;
  if (!config.vsock.path.empty()) {
    VMM_TRY(vsock, open_vsock(config.vsock));
    config.vsock.listen_fd = vsock->fd();
  }
  const auto boot = [&] { return run_boot(flags.boot, config, standing); };
  if (!flags.no_reboot) return boot_until_done(boot);
  VMM_TRY(BootEnd end, boot());
  return end.status;
}

}  // namespace vmm::cli
