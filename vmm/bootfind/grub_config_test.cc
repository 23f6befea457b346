// SPDX-License-Identifier: Apache-2.0
#include "vmm/bootfind/grub_config.h"

#include "vmm/core/testing/catch.h"

namespace vmm::bootfind {
namespace {

GrubResult run(const std::string& script, const std::string& environment = "") {
  GrubInput input;
  input.script = script;
  input.prefix = "/boot/grub";
  input.environment = environment;
  input.has_file = [&](const std::string& path) {
    return path == "/boot/grub/grubenv" && !environment.empty();
  };
  input.read_file = [](const std::string& path) -> std::optional<std::string> {
    if (path == "/boot/grub/custom.cfg") return "menuentry 'custom' { linux /custom }\n";
    if (path == "/boot/grub/loop.cfg") return "source $prefix/loop.cfg\n";
    return std::nullopt;
  };
  Result<GrubResult> result = run_grub_config(input);
  INFO((result ? "" : result.error().message()));
  REQUIRE(result.has_value());
  return *std::move(result);
}

const ConfigEntry& default_of(const GrubResult& result) {
  REQUIRE_FALSE(result.config.entries.empty());
  return result.config.entries[result.config.default_entry];
}

std::string kernel_of(const std::string& script, const std::string& environment = "") {
  return default_of(run(script, environment)).kernel;
}

// Uses every construct that grub-mkconfig's output on Debian, Ubuntu and Fedora is made of.
const std::string kMkconfig = R"(
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
else
   set default="${saved_entry}"
fi
if [ x"${feature_menuentry_id}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi
export menuentry_id_option
function load_video {
  if [ x$feature_all_video_module = xy ]; then
    insmod all_video
  else
    insmod efi_gop; insmod vga
  fi
}
function gfxmode {
	set gfxpayload="${1}"
	if [ "${1}" = "keep" ]; then
		set vt_handoff=vt.handoff=7
	else
		set vt_handoff=
	fi
}
if [ "${recordfail}" != 1 ]; then
  set linux_gfx_mode=keep
else
  set linux_gfx_mode=text
fi
set timeout_style=menu
if [ "${timeout}" = 0 ]; then set timeout=5; fi
menuentry 'Example GNU/Linux' --class example --class os $menuentry_id_option 'simple-55' {
	load_video
	gfxmode $linux_gfx_mode
	insmod gzio
	if [ x$grub_platform = xxen ]; then insmod xzio; fi
	search --no-floppy --fs-uuid --set=root 5555-aaaa
	echo	'Loading Linux 6.1 ...'
	linux	/boot/vmlinuz-6.1 root=UUID=5555-aaaa ro  quiet $vt_handoff
	initrd	/boot/initrd.img-6.1
}
submenu 'Advanced options for Example' $menuentry_id_option 'advanced-55' {
	menuentry 'Example, with Linux 6.1' --class os $menuentry_id_option '6.1-advanced-55' {
		linux	/boot/vmlinuz-6.1 root=UUID=5555-aaaa ro quiet
		initrd	/boot/initrd.img-6.1
	}
	menuentry 'Example, with Linux 5.10' --class os $menuentry_id_option '5.10-advanced-55' {
		linux	/boot/vmlinuz-5.10 root=UUID=5555-aaaa ro "dyndbg=file a.c +p"
		initrd	/boot/ucode.img /boot/initrd.img-5.10
	}
}
if [ -f  ${config_directory}/custom.cfg ]; then
  source ${config_directory}/custom.cfg
fi
menuentry 'UEFI Firmware Settings' $menuentry_id_option 'uefi-firmware' {
	fwsetup
}
)";

}  // namespace

TEST_CASE("grub.cfg: the default entry of grub-mkconfig's output is the newest kernel",
          "[bootfind]") {
  const GrubResult result = run(kMkconfig);
  REQUIRE(result.config.entries.size() == 3);
  const ConfigEntry& entry = default_of(result);
  CHECK(entry.id == "simple-55");
  CHECK(entry.title == "Example GNU/Linux");
  CHECK(entry.kernel == "/boot/vmlinuz-6.1");
  CHECK(entry.initrds == std::vector<std::string>{"/boot/initrd.img-6.1"});
  CHECK(entry.command_line == "root=UUID=5555-aaaa ro quiet vt.handoff=7");
  CHECK(entry.root_uuid == "5555-aaaa");
}

TEST_CASE("grub.cfg: saved_entry in grubenv picks an entry of a submenu", "[bootfind]") {
  const ConfigEntry entry = default_of(
      run(kMkconfig, "# GRUB Environment Block\nsaved_entry=advanced-55>5.10-advanced-55\n####"));
  CHECK(entry.id == "advanced-55>5.10-advanced-55");
  CHECK(entry.initrds == std::vector<std::string>{"/boot/ucode.img", "/boot/initrd.img-5.10"});
  CHECK(entry.command_line == "root=UUID=5555-aaaa ro \"dyndbg=file a.c +p\"");
}

TEST_CASE("grub.cfg: an empty default is the first entry, not the first without an id",
          "[bootfind]") {
  CHECK(kernel_of("set default=\"${saved_entry}\"\n"
                  "menuentry 'A' --id a {\n linux /boot/a\n}\n"
                  "menuentry 'B' {\n linux /boot/b\n}\n",
                  "") == "/boot/a");
}

TEST_CASE("grub.cfg: next_entry, numbers and titles pick as in GRUB", "[bootfind]") {
  CHECK(kernel_of(kMkconfig, "next_entry=1>1\n") == "/boot/vmlinuz-5.10");
  CHECK(
      kernel_of(kMkconfig, "saved_entry=Advanced options for Example>Example, with Linux 5.10\n") ==
      "/boot/vmlinuz-5.10");
  CHECK(kernel_of(kMkconfig, "saved_entry=1\n") == "/boot/vmlinuz-6.1");  // the submenu's first
  CHECK(kernel_of(kMkconfig, "saved_entry=99\n") == "/boot/vmlinuz-6.1");
  CHECK(kernel_of(kMkconfig, "saved_entry=gone\n") == "/boot/vmlinuz-6.1");
  CHECK(kernel_of(kMkconfig, "saved_entry=uefi-firmware\n") == "/boot/vmlinuz-6.1");
}

TEST_CASE("grub.cfg: quotes, comments and continued lines are read as GRUB does", "[bootfind]") {
  const GrubResult result =
      run("x='a b'; y=\"$x c\" # comment\n"
          "menuentry \"it's \\\"$y\\\"\" {\n linux (hd0,gpt2)/k a=$x \\\n b=\"$x\" 'c$x' d\\ e # "
          "not this\n}\n");
  const ConfigEntry& entry = default_of(result);
  CHECK(entry.title == "it's \"a b c\"");
  CHECK(entry.kernel == "/k");
  CHECK(entry.command_line == "a=a b \"b=a b\" c$x \"d e\"");
}

TEST_CASE("grub.cfg: conditions with !, -a, -o, elif and numbers", "[bootfind]") {
  auto choice = [](const std::string& condition) {
    return kernel_of("if " + condition +
                     "; then k=yes; elif [ -z \"\" ]; then k=no; else k=never; fi\n"
                     "menuentry x { linux /$k }");
  };
  CHECK(choice("[ 1 = 1 ]") == "/yes");
  CHECK(choice("[ ! 1 = 1 ]") == "/no");
  CHECK(choice("! [ 1 = 2 ]") == "/yes");
  CHECK(choice("[ 1 = 2 -o a != b ]") == "/yes");
  CHECK(choice("[ 1 = 2 -o a != b -a -n \"\" ]") == "/no");
  CHECK(choice("test 10 -gt 9") == "/yes");
  CHECK(choice("[ \"\" ]") == "/no");
  CHECK(choice("[ -f /nothing ]") == "/no");
  CHECK(choice("keystatus --shift") == "/no");
  CHECK(choice("[") == "/no");
}

TEST_CASE("grub.cfg: another file is read, and one that reads itself ends", "[bootfind]") {
  CHECK(kernel_of("source $prefix/custom.cfg") == "/custom");
  CHECK(kernel_of("configfile ($root)$prefix/custom.cfg") == "/custom");
  CHECK(run("source $prefix/loop.cfg\nsource /nothing").config.entries.empty());
}

TEST_CASE("grub.cfg: blscfg is noticed, and its variables are there", "[bootfind]") {
  const GrubResult result = run("set kernelopts=\"ro quiet\"\ninsmod blscfg\nblscfg\n");
  CHECK(result.uses_bls);
  CHECK(result.config.entries.empty());
  CHECK(expand_variables("a $kernelopts ${none}b $", result.variables) == "a ro quiet b $");
}

TEST_CASE("grub.cfg: functions that call each other for ever come to an end", "[bootfind]") {
  CHECK(run("function f { f; f; }\nf\nmenuentry x { f; linux /k }").config.entries.size() <= 1);
  CHECK(run("function f { g; }\nfunction g { f; }\nf").config.entries.empty());
  // A menu that grows while it is shown.
  CHECK(run("menuentry x { menuentry y { linux /k } }\nsubmenu z { submenu z { submenu z { submenu "
            "z { "
            "submenu z { submenu z { menuentry y { linux /k } } } } } } }")
            .config.entries.empty());
}

TEST_CASE("grub.cfg: values that double and double stay small", "[bootfind]") {
  std::string script = "a=xxxxxxxxxxxxxxxx\n";
  for (int i = 0; i < 64; ++i) script += "a=\"$a$a$a$a\"\n";
  script += "menuentry x { linux /k $a $a $a $a $a $a $a $a }\n";
  const GrubResult result = run(script);
  CHECK(result.variables.at("a").size() <= 16 << 10);
  CHECK(default_of(result).command_line.size() <= kMaxCommandLine);
}

TEST_CASE("grub.cfg: what is no script is an error that names the line", "[bootfind]") {
  auto error_of = [](const std::string& script) {
    GrubInput input;
    input.script = script;
    Result<GrubResult> result = run_grub_config(input);
    return result ? "none" : result.error().message();
  };
  CHECK(error_of("\nmenuentry x {\n") ==
        "line 3: \"the end of the file\" where \"}\" was expected");
  CHECK(error_of("set a=1\n}\n") == "line 2: \"}\" is not expected");
  CHECK(error_of("if true\nfi\n").find("line 3") == 0);
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "if true; then ";
  CHECK(error_of(deep).find("nested too deeply") != std::string::npos);
  std::string long_script;
  for (int i = 0; i < 30'000; ++i) long_script += "x\n";
  CHECK(error_of(long_script).find("one command too many") != std::string::npos);
  CHECK(error_of("'unclosed") == "none");
  CHECK(error_of("for x in a b; do menuentry x { linux /k }; done") == "none");
}

TEST_CASE("grubenv: escapes and the padding are understood", "[bootfind]") {
  const GrubVariables found =
      parse_grub_environment("# GRUB Environment Block\na=1\nb=x\\\\y\\\nz\nempty=\n#####");
  CHECK(found == GrubVariables{{"a", "1"}, {"b", "x\\y\nz"}, {"empty", ""}});
}

}  // namespace vmm::bootfind
